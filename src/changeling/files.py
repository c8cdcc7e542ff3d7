"""Files that are written whole or not at all."""

import glob
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` if the block ends well, and is removed if not.

    The folder is made if need be. Processes that write the same file do not disturb each other; what a killed one
    has left is removed by the next on that machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{platform.node()}-*.tmp"):
        if not _alive(int(left.name.removesuffix(".tmp").rpartition("-")[2])):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        return True
    return True
