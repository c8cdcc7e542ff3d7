"""COCOFake: the release's folders joined to Karpathy's file and to the photographs."""

from pathlib import Path

import pytest

from changeling.datasets.importers.coco_annotations import KARPATHY_COUNTS, Photograph
from changeling.datasets.importers.cocofake import read_cocofake
from changeling.datasets.importers.cocofake_release import describe_gaps, folder_name, read_release
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError
from tests.datasets.files import entry_text, picture, rows, split_of, write_karpathy

PHOTOGRAPHS = {
    number: Photograph(
        captions=[f"caption {index} of {number}" for index in range(5)],
        split="test",
        file_name=f"COCO_val2014_{number:012d}.jpg",
        folder="val2014",
        caption_ids=tuple(range(10 * number, 10 * number + captions)),
    )
    for number, captions in ((391895, 5), (522418, 5), (60623, 7))
}


def release(root: Path, files: dict[int, list[str]]) -> Path:
    """Make a release's folder of empty files."""
    for number, names in files.items():
        folder = root / folder_name(PHOTOGRAPHS[number])
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    return root


def matched(folder: Path) -> dict[int, list[tuple[int | None, str]]]:
    return read_release(folder, PHOTOGRAPHS).children


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"], [0, 1, 2, 3, 4]),
        (["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"], [0, 1, 2, 3, 4]),
        (["3918950.jpg", "3918951.jpg", "3918952.jpg", "3918953.jpg", "3918954.jpg"], [0, 1, 2, 3, 4]),
        (["b.jpg", "a.jpg", "a9.jpg", "a10.jpg", "c.jpg"], [3, 0, 1, 2, 4]),
        (["3918953.jpg", "3918950.PNG"], [3, 0]),
        (["a cat.jpg", "a dog.jpg"], [None, None]),
        (["a_7.jpg", "b_7.jpg"], [None, None]),  # the number is not the caption's
        ([f"{index}_COCO_val2014_000000391895.jpg" for index in range(5)], [0, 1, 2, 3, 4]),
        ([f"COCO_val2014_000000391895_{index}.jpg" for index in (5, 1, 2, 3, 4)], [4, 0, 1, 2, 3]),
    ],
)
def test_a_child_finds_its_caption_by_its_name(names: list[str], indices: list[int | None], tmp_path: Path) -> None:
    found = {name: index for index, name in matched(release(tmp_path, {391895: names}))[391895]}
    assert found == dict(zip(names, indices, strict=True))


def test_whether_captions_are_counted_from_0_or_1_is_told_by_the_other_folders(tmp_path: Path) -> None:
    few = ["1.jpg", "2.jpg", "4.jpg"]
    for first, indices in ((0, [1, 2, 4]), (1, [0, 1, 3])):
        full = [f"{number}.jpg" for number in range(first, first + 5)]
        folder = release(tmp_path / str(first), {391895: full, 522418: few, 60623: full})
        assert [index for index, _ in matched(folder)[522418]] == indices


def test_captions_that_may_be_counted_from_0_or_1_are_not_guessed(tmp_path: Path) -> None:
    folder = release(tmp_path, {number: ["1.jpg", "2.jpg", "3.jpg"] for number in PHOTOGRAPHS})
    assert {index for children in matched(folder).values() for index, _ in children} == {None}
    lines = list(describe_gaps(read_release(folder, PHOTOGRAPHS), PHOTOGRAPHS))
    assert lines[-1] == "the file names do not say the caption in 3 folders: 60623, 391895, 522418"


def test_children_of_a_sixth_caption_are_left_out_and_told(tmp_path: Path) -> None:
    counted = release(tmp_path / "counted", {60623: [f"{number}.jpg" for number in range(7)]})
    named = release(tmp_path / "named", {60623: ["606236.jpg", "606231.jpg"]})
    assert [index for index, _ in matched(counted)[60623]] == [0, 1, 2, 3, 4]
    assert matched(named)[60623] == [(1, "606231.jpg")]
    lines = list(describe_gaps(read_release(counted, PHOTOGRAPHS), PHOTOGRAPHS))
    assert lines == ["children: test 5 of 15", "2 files of a sixth or seventh caption left out"]


def test_every_gap_is_told(tmp_path: Path) -> None:
    folder = release(tmp_path, {391895: ["0.jpg", "1.jpg", "notes.txt"], 522418: [], 60623: ["a cat.jpg"]})
    (tmp_path / "val2014/COCO_val2014_000000000001").mkdir()
    (tmp_path / "train2014/COCO_train2014_000000391895").mkdir(parents=True)  # of val2014 it is
    (tmp_path / "val2014/index.csv").touch()
    assert list(describe_gaps(read_release(folder, PHOTOGRAPHS), PHOTOGRAPHS)) == [
        "children: test 3 of 15",
        "12 captions have no child, in 3 folders with fewer than five: 60623, 391895, 522418",
        "the file names do not say the caption in 1 folder: 60623",
        "2 folders belong to no image: train2014/COCO_train2014_000000391895, val2014/COCO_val2014_000000000001",
    ]


def test_a_folder_that_is_no_release_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds neither train2014/ nor val2014/; pass the folder that does"):
        read_release(tmp_path, PHOTOGRAPHS)


@pytest.fixture
def small_karpathy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file like Karpathy's with 3 / 1 / 2 images, as if there were no more; image 120,000 has seven captions."""
    counts: dict[Split, int] = {"train": 3, "val": 1, "test": 2}
    for split in SPLITS:
        monkeypatch.setitem(KARPATHY_COUNTS, split, counts[split])
    captions = {3: 5, 4: 5, 90_000: 5, 113_288: 5, 120_000: 7, 120_001: 5}
    entries = [entry_text(number, split_of(number), count) for number, count in captions.items()]
    return write_karpathy(tmp_path / "dataset_coco.json", entries)


def test_two_generators_share_parents_captions_and_splits(small_karpathy: Path, tmp_path: Path) -> None:
    for number, part in ((3, "train2014"), (90_000, "val2014"), (120_000, "val2014"), (120_001, "val2014")):
        picture(tmp_path / f"coco/{part}/COCO_{part}_{number:012d}.jpg", (64, 48))
    for generator, number, part, count in (
        ("sd-1.4", 3, "train2014", 5),
        ("sd-1.4", 90_000, "val2014", 5),
        ("sd-1.4", 120_000, "val2014", 4),
        ("sd-1.4", 4, "train2014", 5),  # without its photograph
        ("sd-2.1", 120_000, "val2014", 5),
    ):
        for index in range(count):
            picture(tmp_path / generator / part / f"COCO_{part}_{number:012d}" / f"{index}.jpg")
    fakes = {"sd-1.4": tmp_path / "sd-1.4", "sd-2.1": tmp_path / "sd-2.1"}
    notes: list[str] = []
    images = read_cocofake(small_karpathy, tmp_path / "coco", fakes, note=notes.append)
    dataset = import_dataset(images, tmp_path / "out")
    got = rows(dataset)
    assert len(got) == 3 + 14 + 5
    assert {row["source"] for row in got.values()} == {"cocofake"}
    assert {row["status"] for row in got.values()} == {"ok"}
    of_test = [(name, row["role"], row["generator"], row["caption_index"]) for name, row in got.items()][-10:]
    assert of_test == [
        ("120000", "parent", None, None),
        *((f"sd-1.4/120000/{index}", "child", "sd-1.4", index) for index in range(4)),
        *((f"sd-2.1/120000/{index}", "child", "sd-2.1", index) for index in range(5)),
    ]
    assert {row["cluster_id"]: row["split"] for row in got.values()} == {
        "coco_3": "train",
        "coco_90000": "train",
        "coco_120000": "test",
    }
    assert dataset.captions["caption"].to_pylist()[-5:] == [f"caption {index} of 120000" for index in range(5)]
    assert dataset.captions.num_rows == 15
    assert notes == [
        "photographs: train 2 of 3, val 0 of 1, test 2 of 2",
        "sd-1.4: children: train 15 of 15, val 0 of 5, test 4 of 10",
        "sd-1.4: 1 caption has no child, in 1 folder with fewer than five: 120000",
        "sd-2.1: children: train 0 of 15, val 0 of 5, test 5 of 10",
        "left out, without a photograph: 1 cluster of fakes",
        "left out, without a fake: 1 photograph",
    ]
    with pytest.raises(DatasetError, match=r"has both a photograph below .* and fakes"):
        list(read_cocofake(small_karpathy, tmp_path / "coco/train2014", {"sd-2.1": tmp_path / "sd-2.1"}))


def test_a_caption_file_has_no_splits(tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(DatasetError, match=r"has no splits; pass Karpathy's dataset_coco\.json"):
        list(read_cocofake(tmp_path / "captions.json", tmp_path, {}))
