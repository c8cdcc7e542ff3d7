"""Files that are written whole or not at all, and cells of those that spreadsheets read."""

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
    mine = f".{path.name}.{platform.node()}-"
    for name in os.listdir(path.parent):  # noqa: PTH208 (many times as fast)
        process = name.removeprefix(mine).removesuffix(".tmp")
        if name == f"{mine}{process}.tmp" and process.isdecimal() and not _alive(int(process)):
            path.with_name(name).unlink(missing_ok=True)
    temporary = path.with_name(f"{mine}{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def inert(text: str) -> str:
    """A text as a cell of a CSV file: what a spreadsheet would take for a formula has a ' before it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        return True
    return True
