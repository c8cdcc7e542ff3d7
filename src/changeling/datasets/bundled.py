"""The datasets that the package contains: features, without images."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "data"
BUNDLED = {  # name in study files -> folder
    "bundled:reconstructions": _FOLDER / "reconstructions",
    "bundled:true-clusters": _FOLDER / "true-clusters",
    "bundled": _FOLDER / "true-clusters",  # its name before there were two
}


def is_bundled(path: Path) -> bool:
    """Return whether a dataset's folder is one of those in the package."""
    return path.resolve() in {folder.resolve() for folder in BUNDLED.values()}
