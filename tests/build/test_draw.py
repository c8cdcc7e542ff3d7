"""Drawing a part: order, further seeds for what is flagged, smaller batches for what does not fit."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from changeling.build.draw import DrawnChild, draw_part, load_build_generator
from changeling.build.job import Build
from changeling.errors import BuildError
from changeling.generators.base import Child, OutOfMemoryError, ParentFile
from changeling.images.decode import decode_image
from tests import helpers

BASE = 1000  # seeds of children are this far apart, so that no redraw is another child's


class Painter:
    """A generator that paints its seed.

    Attributes:
        flagged: the seeds that its safety checker flags.
        fits: how many children fit into its memory.
        reads: whether it draws from parents, as a reconstruction does.
        groups: the seeds it was asked for, call by call.
    """

    def __init__(self, flagged: Sequence[int] = (), fits: int = 99, reads: bool = False) -> None:
        self.record, self.device = {"model": "painter"}, "an easel"
        self.flagged, self.fits, self.reads = set(flagged), fits, reads
        self.groups: list[list[int]] = []

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        self.groups.append(list(seeds))
        if self.reads:
            for child in children:
                decode_image(child.parent.file)
        if len(children) > self.fits:
            raise OutOfMemoryError
        return [None if seed in self.flagged else painted(seed) for seed in seeds]


def painted(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))


@pytest.fixture
def children(tmp_path: Path) -> list[Child]:
    """Seven, whose seeds are 0, 1000, ..., each of a parent of its own."""
    return make_children(tmp_path, 7)


def make_children(folder: Path, count: int, first: int = 0) -> list[Child]:
    children = []
    for number in range(first, first + count):
        path = folder / f"{number}.png"
        helpers.natural(number, 8).save(path)
        children.append(
            Child(
                image_id=f"painter/{number}/0",
                number=number,
                cluster_id=str(number),
                split="train",
                source="",
                caption_index=0,
                prompt=f"a picture of {number}",
                seed=BASE * number,
                parent=ParentFile(path, hashlib.sha256(path.read_bytes()).hexdigest()),
            )
        )
    return children


def seeds(drawn: Sequence[DrawnChild]) -> list[int | None]:
    return [result.seed for result in drawn]


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 50])
def test_children_are_drawn_in_order_whatever_the_batch(batch: int, children: list[Child]) -> None:
    painter = Painter()
    drawn, fitted = draw_part(painter, children, 4, batch)
    assert fitted == batch
    assert [result.child for result in drawn] == children
    assert [result.seed for result in drawn] == [child.seed for child in children]
    for result in drawn:
        assert result.image is not None
        assert result.image.tobytes() == painted(result.child.seed).tobytes()
    assert max(map(len, painter.groups)) == min(batch, 7)
    assert len(painter.groups) == -(-7 // batch)


def test_a_part_that_is_not_the_first_keeps_its_numbers(tmp_path: Path) -> None:
    later = make_children(tmp_path, 3, first=40)
    drawn, _ = draw_part(Painter(), later, 4, 2)
    assert [result.child.number for result in drawn] == [40, 41, 42]
    assert seeds(drawn) == [40_000, 41_000, 42_000]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_flagged_children_are_drawn_again_from_the_next_seeds(batch: int, children: list[Child]) -> None:
    painter = Painter(flagged=[1000, 3000, 3001, 3002, 6000, 6001])
    drawn, _ = draw_part(painter, children, 4, batch)
    assert seeds(drawn) == [0, 1001, 2000, 3003, 4000, 5000, 6002]
    assert {result.status for result in drawn} == {"ok"}
    images = [result.image.tobytes() if result.image else b"" for result in drawn]
    assert images == [painted(result.seed or 0).tobytes() for result in drawn]
    asked = [seed for group in painter.groups for seed in group]
    assert sorted(asked) == [0, 1000, 1001, 2000, 3000, 3001, 3002, 3003, 4000, 5000, 6000, 6001, 6002]


@pytest.mark.parametrize("redraws", [0, 1, 4])
def test_a_child_that_is_flagged_on_every_attempt_has_no_image(redraws: int, children: list[Child]) -> None:
    painter = Painter(flagged=range(2000, 3000))
    drawn, _ = draw_part(painter, children, redraws, 3)
    rejected = drawn[2]
    assert (rejected.image, rejected.seed, rejected.status) == (None, None, "flagged")
    assert rejected.error == f"the safety checker flagged it {f'{redraws + 1} times' if redraws else 'once'}"
    assert [result.status for result in drawn] == ["ok", "ok", "flagged", "ok", "ok", "ok", "ok"]
    assert sum(2000 <= seed < 3000 for group in painter.groups for seed in group) == redraws + 1


@given(data=st.data())
def test_the_first_seed_that_passes_is_taken(data: st.DataObject, seven: list[Child]) -> None:
    passes = data.draw(st.lists(st.integers(0, 6), min_size=7, max_size=7))
    redraws, batch = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 8))
    flagged = [BASE * number + more for number, first in enumerate(passes) for more in range(first)]
    drawn, _ = draw_part(Painter(flagged), seven, redraws, batch)
    expected = [BASE * number + first if first <= redraws else None for number, first in enumerate(passes)]
    assert seeds(drawn) == expected


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> list[Child]:
    return make_children(tmp_path_factory.mktemp("seven"), 7)


@pytest.mark.parametrize(("batch", "fits", "fitted"), [(8, 2, 2), (7, 3, 3), (8, 7, 8), (64, 1, 1), (3, 2, 1)])
def test_a_batch_that_does_not_fit_is_halved_and_the_part_is_drawn_again(
    batch: int, fits: int, fitted: int, children: list[Child]
) -> None:
    painter = Painter(flagged=[3000], fits=fits)
    drawn, batch_that_fitted = draw_part(painter, children, 4, batch)
    assert batch_that_fitted == fitted
    undisturbed = Painter(flagged=[3000])
    expected, _ = draw_part(undisturbed, children, 4, fitted)
    assert seeds(drawn) == seeds(expected)
    assert painter.groups[-len(undisturbed.groups) :] == undisturbed.groups  # nothing of the larger batch is kept


def test_a_part_is_drawn_again_when_memory_runs_out_late(children: list[Child]) -> None:
    painter = Painter()

    def fill(_: int) -> None:
        painter.fits = 2

    drawn, batch = draw_part(painter, children, 4, 4, fill)
    assert batch == 2
    assert seeds(drawn) == [child.seed for child in children]
    assert [len(group) for group in painter.groups] == [4, 3, 2, 2, 2, 1]
    assert painter.groups[2] == [0, 1000]


@pytest.mark.parametrize("batch", [1, 8])
def test_one_child_that_does_not_fit_is_an_error(batch: int, children: list[Child]) -> None:
    with pytest.raises(BuildError, match=r"too little memory for one child; choose a smaller size or precision"):
        draw_part(Painter(fits=0), children, 4, batch)


def test_other_errors_of_a_model_pass_through(children: list[Child]) -> None:
    class Failing(Painter):
        def draw(self, *_: object) -> list[Image.Image | None]:
            raise BuildError("it is broken")

    with pytest.raises(BuildError, match="it is broken"):
        draw_part(Failing(), children, 4, 2)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("reads", [False, True])
def test_only_the_child_of_a_changed_parent_fails(
    reads: bool, batch: int, children: list[Child], tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(b"another file")
    (tmp_path / "4.png").unlink()
    drawn, _ = draw_part(Painter(reads=reads), children, 4, batch)
    assert [result.status for result in drawn] == ["ok", "corrupt", "ok", "ok", "missing", "ok", "ok"]
    assert drawn[1].error == "its parent: is another file than when it was imported or made"
    assert drawn[4].error == "its parent: no such file"
    assert [result.child for result in drawn] == children
    assert seeds(drawn) == [0, None, 2000, 3000, None, 5000, 6000]


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_only_the_child_of_a_parent_with_broken_pixels_fails(batch: int, children: list[Child], tmp_path: Path) -> None:
    """Its hash is right: only the generator notices, in the middle of a batch."""
    helpers.generated(0, 64).save(tmp_path / "1.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:2000])
    broken = tmp_path / "1.png"
    children[1] = replace(children[1], parent=ParentFile(broken, hashlib.sha256(broken.read_bytes()).hexdigest()))
    painter = Painter(flagged=[2000], reads=True)
    drawn, _ = draw_part(painter, children, 4, batch)
    assert [result.status for result in drawn] == ["ok", "truncated", "ok", "ok", "ok", "ok", "ok"]
    assert seeds(drawn) == [0, None, 2001, 3000, 4000, 5000, 6000]
    assert drawn[1].error
    assert drawn[1].error.startswith("its parent: cannot be decoded")


def test_the_number_of_done_children_is_reported(children: list[Child]) -> None:
    reports: list[int] = []
    draw_part(Painter(flagged=[1000, 1001]), children, 4, 2, reports.append)
    assert reports == [1, 3, 5, 6, 6, 7]


def test_without_the_libraries_the_error_names_the_command_that_installs_them(
    whole: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else name)
    with pytest.raises(BuildError, match=r"picky needs diffusers: pip install 'changeling\[generate\]'"):
        load_build_generator(whole, "picky")


def test_a_build_resumes_with_the_recorded_number_of_threads(copy: Build) -> None:
    record = copy.output / "build" / "picky" / "generator.json"
    assert '"threads": 1,' in record.read_text()
    record.write_text(record.read_text().replace('"threads": 1,', '"threads": 2,'))
    assert load_build_generator(copy, "picky").record["threads"] == 2
    assert load_build_generator(copy, "tiny vae").record["threads"] == 1
