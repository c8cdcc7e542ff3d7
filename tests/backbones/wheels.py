"""A wheel with weights, for the tests."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from changeling.backbones.weights import Wheel

PACKAGE = "changeling_test_weights"


def write_wheel(folder: Path, members: Mapping[str, bytes], version: str = "1.0") -> Wheel:
    """A wheel whose code leaves a mark in `folder` as soon as it is imported."""
    info = f"{PACKAGE}-{version}.dist-info"
    files = {
        f"{PACKAGE}/__init__.py": f"import pathlib\npathlib.Path({str(folder / 'mark')!r}).touch()\n".encode(),
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{PACKAGE}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return Wheel(PACKAGE, version, path.stat().st_size)
