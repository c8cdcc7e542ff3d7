"""Where changeling keeps what it fetches."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Folder of fetched weights: `$CHANGELING_CACHE`, or the user's cache folder."""
    override = os.environ.get("CHANGELING_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("changeling")
