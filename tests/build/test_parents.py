"""The children of captioned parents: their order, their ids and their seeds."""

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
from changeling.generators.base import Child, ParentFile
from changeling.generators.settings import GeneratorSettings

FROM_CAPTIONS = GeneratorSettings(model="any")
RECONSTRUCTED = GeneratorSettings(model="any", kind="reconstruction")
ids = st.text(max_size=12)
indices = st.none() | st.integers(0, 9)


def parent(cluster: str, name: str = "", **more: object) -> ImageRow:
    fields = {"path": f"{cluster}.jpg", "split": "val", "source": "camera", "sha256": f"hash of {cluster}"} | more
    return ImageRow(name or f"{cluster}.jpg", cluster, "parent", **fields)  # type: ignore[arg-type]


def make_captions(cluster: str, count: int) -> list[CaptionRow]:
    return [CaptionRow(cluster, index, f"{cluster} said {index}") for index in range(count)]


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    """Three parents with 2, 3 and 1 captions, whose order is not that of their names."""
    captions = [*make_captions("b", 2), *make_captions("a", 3), *make_captions("c", 1)]
    return write_dataset(tmp_path / "plain", [parent("b"), parent("a"), parent("c")], captions)


def list_all(
    parents: Parents, settings: GeneratorSettings = FROM_CAPTIONS, name: str = "sd", seed: int = 0
) -> list[Child]:
    return parents.list_children(name, settings, seed, 0, parents.count_children(settings))


def names(children: Sequence[Child]) -> list[str]:
    return [child.image_id for child in children]


def test_a_seed_is_62_bits_of_a_hash_of_its_arguments() -> None:
    # printf '7\0c1\0002\0sd' | sha256sum -> 632763998f6a56ba..., and without the last two bits
    assert child_seed(7, "c1", 2, "sd") == 0x632763998F6A56BA >> 2
    assert child_seed(7, "c1", None, "sd") == 0xB8C7E67E5A580707 >> 2


@given(seed=st.integers(0, 2**40), cluster=ids, index=indices, generator=ids)
def test_seeds_leave_room_for_redraws_below_63_bits(seed: int, cluster: str, index: int | None, generator: str) -> None:
    assert 0 <= child_seed(seed, cluster, index, generator) < 2**62


def test_seeds_use_all_their_bits() -> None:
    seeds = [child_seed(0, f"c{number}", 0, "sd") for number in range(400)]
    shares = [sum(seed >> bit & 1 for seed in seeds) / len(seeds) for bit in range(62)]
    assert 0.35 < min(shares) < max(shares) < 0.65


def test_each_argument_changes_the_seed() -> None:
    seeds = {child_seed(*key) for key in ((0, "c", 1, "sd"), (1, "c", 1, "sd"), (0, "d", 1, "sd"), (0, "c", 2, "sd"))}
    assert len(seeds | {child_seed(0, "c", 1, "xl"), child_seed(0, "c", None, "sd")}) == 6


def test_there_is_one_child_per_caption_in_the_order_of_parents_and_captions(plain: Dataset) -> None:
    children = list_all(Parents(plain), seed=5)
    assert names(children) == ["sd/b.jpg/0", "sd/b.jpg/1", "sd/a.jpg/0", "sd/a.jpg/1", "sd/a.jpg/2", "sd/c.jpg/0"]
    assert [child.prompt for child in children[1:3]] == ["b said 1", "a said 0"]
    assert children[1] == Child(
        image_id="sd/b.jpg/1",
        number=1,
        cluster_id="b",
        split="val",
        source="camera",
        caption_index=1,
        prompt="b said 1",
        seed=child_seed(5, "b", 1, "sd"),
        parent=ParentFile(plain.path / "b.jpg", "hash of b"),
    )


@pytest.mark.parametrize("shuffle", range(3))
def test_the_order_of_captions_parquet_does_not_matter(shuffle: int, plain: Dataset, tmp_path: Path) -> None:
    rows = [CaptionRow(**row) for row in plain.captions.to_pylist()]
    random.Random(shuffle).shuffle(rows)
    parents = [ImageRow(**row) for row in plain.images.to_pylist()]
    shuffled = Parents(write_dataset(tmp_path / "plain", parents, rows))
    assert list_all(shuffled) == list_all(Parents(plain))
    assert shuffled.captions == Parents(plain).captions


@given(start=st.integers(0, 8), length=st.integers(0, 8))
def test_any_range_of_children_is_that_range_of_all_children(start: int, length: int, sliced: Parents) -> None:
    for settings in (FROM_CAPTIONS, RECONSTRUCTED):
        whole = list_all(sliced, settings)
        assert sliced.list_children("sd", settings, 0, start, start + length) == whole[start : start + length]


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Parents:
    captions = [*make_captions("a", 3), *make_captions("b", 1), *make_captions("c", 2)]
    folder = tmp_path_factory.mktemp("sliced")
    return Parents(write_dataset(folder, [parent("a"), parent("b"), parent("c")], captions))


def test_a_seed_does_not_depend_on_other_clusters_or_generators(plain: Dataset, tmp_path: Path) -> None:
    alone = write_dataset(tmp_path / "alone", [parent("a")], make_captions("a", 2))
    seeds = {child.image_id: child.seed for child in list_all(Parents(plain))}
    assert [child.seed for child in list_all(Parents(alone))] == [seeds["sd/a.jpg/0"], seeds["sd/a.jpg/1"]]
    assert not {child.seed for child in list_all(Parents(plain), name="xl")} & set(seeds.values())


def test_parents_that_cannot_have_children_are_excluded_and_counted(tmp_path: Path) -> None:
    rows = [
        parent("silent"),
        parent("broken", status="truncated", error="ends early"),
        parent("two"),
        parent("two", "second.jpg"),
        ImageRow("fake.png", "two", "child", "fake.png", "val", generator="old"),
        parent("half", "gone.jpg", status="missing"),
        parent("half", "whole.jpg"),
    ]
    captions = [
        *make_captions("broken", 2),
        *make_captions("two", 2),
        *make_captions("half", 1),
        *make_captions("nobody", 3),
    ]
    parents = Parents(write_dataset(tmp_path / "odd", rows, captions))
    assert names(list_all(parents)) == ["sd/two.jpg/0", "sd/two.jpg/1", "sd/whole.jpg/0"]
    assert (len(parents), parents.excluded_count, parents.count_children(FROM_CAPTIONS)) == (2, 4, 3)
    assert parents.captions.to_pylist() == [
        {"cluster_id": row.cluster_id, "caption_index": row.caption_index, "caption": row.caption}
        for row in (*make_captions("two", 2), *make_captions("half", 1))
    ]


def test_a_reconstruction_has_one_child_per_parent(plain: Dataset) -> None:
    parents = Parents(plain)
    children = list_all(parents, RECONSTRUCTED, "vae")
    assert names(children) == ["vae/b.jpg", "vae/a.jpg", "vae/c.jpg"]
    assert {(child.caption_index, child.prompt) for child in children} == {(None, "")}
    assert parents.count_children(RECONSTRUCTED) == 3


@pytest.mark.parametrize("clusters", [1, 2, 3, 9])
def test_a_limit_takes_the_first_clusters(clusters: int, plain: Dataset) -> None:
    few, whole = Parents(plain, clusters), Parents(plain)
    assert list_all(few) == list_all(whole)[: few.count_children(FROM_CAPTIONS)]
    assert few.count_children(FROM_CAPTIONS) == sum((2, 3, 1)[:clusters])
    assert few.excluded_count == 0


def test_ids_are_unique_over_all_generators(plain: Dataset) -> None:
    parents = Parents(plain)
    ids = [image_id for name in ("sd", "xl") for image_id in names(list_all(parents, name=name))]
    ids += [*names(list_all(parents, RECONSTRUCTED, "vae")), *plain.column("image_id")]
    assert len(set(ids)) == len(ids) == 6 + 6 + 3 + 3


@pytest.mark.parametrize("captions", [[], make_captions("somebody else", 2)], ids=["none", "of others"])
def test_the_error_for_a_dataset_without_captioned_parents_names_an_import_command(
    captions: list[CaptionRow], tmp_path: Path
) -> None:
    dataset = write_dataset(tmp_path / "mute", [parent("a")], captions)
    with pytest.raises(BuildError, match=r"mute has no parents with captions; `changeling import coco`"):
        Parents(dataset)


def test_two_captions_of_a_cluster_with_one_index_are_refused(plain: Dataset, tmp_path: Path) -> None:
    rows = [CaptionRow(**row) for row in plain.captions.to_pylist()]
    rows[1] = replace(rows[1], caption_index=0)
    images = [ImageRow(**row) for row in plain.images.to_pylist()]
    with pytest.raises(BuildError, match=r"captions.parquet has two captions of a cluster with the same index"):
        Parents(write_dataset(tmp_path / "coco", images, rows))
