"""The cache folder."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of downloaded weights: `$CHANGELING_CACHE`, or a folder in the user's cache folder."""
    override = os.environ.get("CHANGELING_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("changeling")
