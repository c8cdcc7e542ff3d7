"""Which children there are to make: their order, their names, and seeds that depend on nothing but themselves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.build.parents import Parents, child_seed
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from changeling.generators.base import Child
from changeling.generators.settings import GeneratorSettings

DRAWN = GeneratorSettings(model="any")
REBUILT = GeneratorSettings(model="any", kind="reconstruction")
ids = st.text(max_size=12)
indices = st.none() | st.integers(0, 9)


def parent(cluster: str, name: str = "", **more: object) -> ImageRow:
    told = {"path": f"{cluster}.jpg", "split": "val", "source": "camera", "sha256": f"hash of {cluster}"} | more
    return ImageRow(name or f"{cluster}.jpg", cluster, "parent", **told)  # type: ignore[arg-type]


def spoken(cluster: str, count: int) -> list[CaptionRow]:
    return [CaptionRow(cluster, index, f"{cluster} said {index}") for index in range(count)]


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    """Three parents with 2, 3 and 1 captions, whose order is not that of their names."""
    captions = [*spoken("b", 2), *spoken("a", 3), *spoken("c", 1)]
    return write_dataset(tmp_path / "plain", [parent("b"), parent("a"), parent("c")], captions)


def listed(parents: Parents, settings: GeneratorSettings = DRAWN, name: str = "sd", seed: int = 0) -> list[Child]:
    return parents.list_children(name, settings, seed, 0, parents.count_children(settings))


def names(children: Sequence[Child]) -> list[str]:
    return [child.image_id for child in children]


def test_a_seed_is_62_bits_of_a_hash_of_four_things() -> None:
    # printf '7\0c1\0002\0sd' | sha256sum -> 632763998f6a56ba..., and without the last two bits
    assert child_seed(7, "c1", 2, "sd") == 0x632763998F6A56BA >> 2
    assert child_seed(7, "c1", None, "sd") == 0xB8C7E67E5A580707 >> 2


@given(seed=st.integers(0, 2**40), cluster=ids, index=indices, generator=ids)
def test_seeds_leave_room_for_redraws_below_63_bits(seed: int, cluster: str, index: int | None, generator: str) -> None:
    assert 0 <= child_seed(seed, cluster, index, generator) < 2**62


def test_seeds_spread_over_all_their_bits() -> None:
    seeds = [child_seed(0, f"c{number}", 0, "sd") for number in range(400)]
    shares = [sum(seed >> bit & 1 for seed in seeds) / len(seeds) for bit in range(62)]
    assert 0.35 < min(shares) < max(shares) < 0.65


def test_each_of_the_four_things_changes_the_seed() -> None:
    told = {child_seed(*key) for key in ((0, "c", 1, "sd"), (1, "c", 1, "sd"), (0, "d", 1, "sd"), (0, "c", 2, "sd"))}
    assert len(told | {child_seed(0, "c", 1, "xl"), child_seed(0, "c", None, "sd")}) == 6


def test_there_is_a_child_a_caption_in_the_order_of_parents_and_captions(plain: Dataset) -> None:
    made = listed(Parents(plain), seed=5)
    assert names(made) == ["sd/b.jpg/0", "sd/b.jpg/1", "sd/a.jpg/0", "sd/a.jpg/1", "sd/a.jpg/2", "sd/c.jpg/0"]
    assert [child.prompt for child in made[1:3]] == ["b said 1", "a said 0"]
    assert made[1] == Child(
        image_id="sd/b.jpg/1",
        number=1,
        cluster_id="b",
        split="val",
        source="camera",
        caption_index=1,
        prompt="b said 1",
        seed=child_seed(5, "b", 1, "sd"),
        parent=plain.path / "b.jpg",
        parent_hash="hash of b",
    )


@pytest.mark.parametrize("shuffle", range(3))
def test_the_order_of_captions_parquet_does_not_matter(shuffle: int, plain: Dataset, tmp_path: Path) -> None:
    rows = [CaptionRow(**row) for row in plain.captions.to_pylist()]
    random.Random(shuffle).shuffle(rows)
    parents = [ImageRow(**row) for row in plain.images.to_pylist()]
    shuffled = Parents(write_dataset(tmp_path / "plain", parents, rows))
    assert listed(shuffled) == listed(Parents(plain))
    assert shuffled.captions == Parents(plain).captions


@given(start=st.integers(0, 8), length=st.integers(0, 8))
def test_any_slice_is_that_of_the_whole(start: int, length: int, sliced: Parents) -> None:
    for settings in (DRAWN, REBUILT):
        whole = listed(sliced, settings)
        assert sliced.list_children("sd", settings, 0, start, start + length) == whole[start : start + length]


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Parents:
    captions = [*spoken("a", 3), *spoken("b", 1), *spoken("c", 2)]
    folder = tmp_path_factory.mktemp("sliced")
    return Parents(write_dataset(folder, [parent("a"), parent("b"), parent("c")], captions))


def test_a_seed_does_not_depend_on_other_clusters_or_generators(plain: Dataset, tmp_path: Path) -> None:
    alone = write_dataset(tmp_path / "alone", [parent("a")], spoken("a", 2))
    seeds = {child.image_id: child.seed for child in listed(Parents(plain))}
    assert [child.seed for child in listed(Parents(alone))] == [seeds["sd/a.jpg/0"], seeds["sd/a.jpg/1"]]
    assert not {child.seed for child in listed(Parents(plain), name="xl")} & set(seeds.values())


def test_parents_that_cannot_have_children_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        parent("silent"),
        parent("broken", status="truncated", error="ends early"),
        parent("two"),
        parent("two", "second.jpg"),
        ImageRow("fake.png", "two", "child", "fake.png", "val", generator="old"),
        parent("half", "gone.jpg", status="missing"),
        parent("half", "whole.jpg"),
    ]
    captions = [*spoken("broken", 2), *spoken("two", 2), *spoken("half", 1), *spoken("nobody", 3)]
    found = Parents(write_dataset(tmp_path / "odd", rows, captions))
    assert names(listed(found)) == ["sd/two.jpg/0", "sd/two.jpg/1", "sd/whole.jpg/0"]
    assert (len(found), found.excluded_count, found.count_children(DRAWN)) == (2, 4, 3)
    assert found.captions.to_pylist() == [
        {"cluster_id": row.cluster_id, "caption_index": row.caption_index, "caption": row.caption}
        for row in (*spoken("two", 2), *spoken("half", 1))
    ]


def test_a_reconstruction_makes_one_child_a_parent(plain: Dataset) -> None:
    found = Parents(plain)
    made = listed(found, REBUILT, "vae")
    assert names(made) == ["vae/b.jpg", "vae/a.jpg", "vae/c.jpg"]
    assert {(child.caption_index, child.prompt) for child in made} == {(None, "")}
    assert found.count_children(REBUILT) == 3


@pytest.mark.parametrize("clusters", [1, 2, 3, 9])
def test_a_limit_takes_the_first_clusters(clusters: int, plain: Dataset) -> None:
    few, whole = Parents(plain, clusters), Parents(plain)
    assert listed(few) == listed(whole)[: few.count_children(DRAWN)]
    assert few.count_children(DRAWN) == sum((2, 3, 1)[:clusters])
    assert few.excluded_count == 0


def test_ids_are_unique_over_all_generators(plain: Dataset) -> None:
    found = Parents(plain)
    made = [one for name in ("sd", "xl") for one in names(listed(found, name=name))]
    made += [*names(listed(found, REBUILT, "vae")), *plain.column("image_id")]
    assert len(set(made)) == len(made) == 6 + 6 + 3 + 3


@pytest.mark.parametrize("captions", [[], spoken("somebody else", 2)], ids=["none", "of others"])
def test_no_captioned_parents_name_the_command_that_brings_some(captions: list[CaptionRow], tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "mute", [parent("a")], captions)
    with pytest.raises(BuildError, match=r"mute has no parents with captions; `changeling import coco`"):
        Parents(dataset)


def test_captions_that_would_make_two_children_of_one_id_are_refused(plain: Dataset, tmp_path: Path) -> None:
    rows = [CaptionRow(**row) for row in plain.captions.to_pylist()]
    rows[1] = replace(rows[1], caption_index=0)
    images = [ImageRow(**row) for row in plain.images.to_pylist()]
    with pytest.raises(BuildError, match=r"captions.parquet has two captions of a cluster with the same index"):
        Parents(write_dataset(tmp_path / "coco", images, rows))
