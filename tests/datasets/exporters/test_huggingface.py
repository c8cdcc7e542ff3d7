"""What others see of an export for the Hugging Face Hub: `datasets` loads it, and the card says what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.exporters import huggingface
from changeling.datasets.exporters.huggingface import HuggingFaceExporter
from changeling.datasets.importers.huggingface import HuggingFaceImporter
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError
from tests.datasets.odd import Odd, encoded

OTHERS: list[list[Any]] = [[1, 2], ["a.png", "b.png"], [{"path": "a.png"}] * 2, [{"bytes": "a", "path": "a.png"}] * 2]


def front(folder: Path) -> dict[str, Any]:
    """The card's front matter, as the Hub reads it."""
    yaml = pytest.importorskip("yaml")
    content: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    return content


def test_datasets_loads_images_rows_and_captions(tiny_dataset: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    HuggingFaceExporter().export(tiny_dataset, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hub"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 21, "validation": 9, "test": 12}
    for name, split in loaded.items():
        assert split.features["image"] == datasets.Image()
        assert split.features["captions"] == datasets.List(datasets.Value("string"))
        assert split.features["caption_index"] == datasets.Value("int64")
        wanted = [
            row for row in tiny_dataset.images.to_pylist() if row["split"] == {"validation": "val"}.get(name, name)
        ]
        for got, row in zip(split, wanted, strict=True):
            with Image.open(tiny_dataset.resolve_path(row["path"])) as image:
                assert got["image"].tobytes() == image.tobytes()
            assert {key: got[key] for key in row if key not in ("path", "split")} == {
                key: value for key, value in row.items() if key not in ("path", "split")
            }
        child = next(row for row in split if row["role"] == "child")
        assert child["caption"] == child["captions"][child["caption_index"]]
        assert child["captions"][1] == f"scene {int(child['cluster_id'][1:])}, said 1"
    captions = datasets.load_dataset(str(tmp_path / "out"), "captions", cache_dir=str(tmp_path / "hub"))["train"]
    assert captions.to_list() == tiny_dataset.captions.to_pylist()


def test_a_row_without_an_image_loads_as_one(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    good = ImageRow("a", "a", "parent", "images/a", "test")
    bad = replace(good, image_id="b", path="", status="flagged", error="the checker said no", seed=7)
    HuggingFaceExporter().export(
        Odd([bad, good], [], {"images/a": encoded("JPEG")}).write(tmp_path / "in"), tmp_path / "out"
    )
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hub"), split="test")
    assert [row["image"] and row["image"].format for row in loaded] == [None, "JPEG"]
    assert (loaded[0]["status"], loaded[0]["error"], loaded[0]["seed"]) == ("flagged", "the checker said no", 7)


def test_what_datasets_wrote_again_is_still_the_same_images(tiny_dataset: Dataset, tmp_path: Path) -> None:
    """As `push_to_hub` does; the captions' own file and the order of the rows are lost on that way."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    HuggingFaceExporter().export(tiny_dataset, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hub"))
    loaded.save_to_disk(tmp_path / "saved")
    back = HuggingFaceImporter(tmp_path / "saved").import_to(tmp_path / "back")
    key = "image_id"
    wanted = tiny_dataset.images.drop_columns("path").sort_by(key)
    assert back.images.drop_columns("path").sort_by(key).equals(wanted)
    assert sorted(back.captions["caption"].to_pylist()) == sorted(tiny_dataset.captions["caption"].to_pylist())


def test_images_are_the_files_own_bytes_in_small_row_groups(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "_GROUP_BYTES", 10_000)
    HuggingFaceExporter().export(tiny_dataset, tmp_path / "out")
    with pq.ParquetFile(tmp_path / "out/data/train-00000-of-00001.parquet") as file:
        groups = [file.read_row_group(number).to_pylist() for number in range(file.num_row_groups)]
    assert all(sum(len(row["image"]["bytes"]) for row in group) < 14_000 for group in groups)
    rows = [row for group in groups for row in group]
    paths = dict(zip(tiny_dataset.column("image_id"), tiny_dataset.column("path"), strict=True))
    assert len(groups) > 4
    assert all(row["image"]["bytes"] == tiny_dataset.resolve_path(paths[row["image_id"]]).read_bytes() for row in rows)
    assert [row["image"]["path"] for row in rows][:2] == ["000000000.png", "000000001.png"]


def test_the_card_says_what_it_is(tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tiny_dataset.path / "generators.json").write_text(json.dumps({"alpha": {"model": "né\ud83d\ude00", "steps": 50}}))
    HuggingFaceExporter("cc-by-4.0").export(tiny_dataset, tmp_path / "out")
    assert front(tmp_path / "out") == {
        "license": "cc-by-4.0",
        "task_categories": ["image-classification", "text-to-image"],
        "tags": ["changeling", "deepfake-detection", "synthetic-images"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"data/{split}-*.parquet"} for split in ("train", "validation", "test")
                ],
            },
            {"config_name": "captions", "data_files": "captions/captions.parquet"},
        ],
    }
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    for line in (
        "42 images in 12 clusters, 36 captions:",
        "| images | train | validation | test |",
        "| parents | 6 | 3 | 3 |",
        "| children by alpha | 6 | 3 | 3 |",
        "| children by beta | 9 | 3 | 6 |",
        '    "steps": 50',
        "| this dataset | cc-by-4.0 |",
        "| images by beta | *to be filled in* |",
    ):
        assert f"\n{line}\n" in card
    columns = {
        word for line in card.splitlines() if line.startswith("| `") for word in line.split(" | ")[0][2:].split(", ")
    }
    assert columns == {f"`{name}`" for name in huggingface.export_schema().names}
    assert "{" not in card.replace(card[card.index("```json") : card.index("## Licences")], "")


def test_the_card_of_a_dataset_of_anyones_names(tmp_path: Path) -> None:
    rows = [
        ImageRow("a", "a", "parent", "", "test", status="missing"),
        ImageRow("b", "a", "child", "", "test", generator="| <b>\n# x", status="missing"),
        ImageRow("c", "a", "child", "", "test", generator="", status="missing"),
    ]
    HuggingFaceExporter().export(write_dataset(tmp_path / "{0} *in*\n---", rows), tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "\n# \\{0\\} \\*in\\* ---\n" in card
    assert "\n| children by \\| \\<b\\> \\# x | 1 |\n" in card
    assert "\n| parents | 1 |\n" in card
    assert "\n3 rows have no image; `status` says why.\n" in card
    assert "*To be filled in: models, revisions, steps, guidance.*" in card
    assert front(tmp_path / "out")["configs"] == [
        {"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*.parquet"}]}
    ]


def test_a_licence_is_one_word_of_the_hubs(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'CC BY\\n4' is not a licence identifier of the Hub, such"):
        HuggingFaceExporter("CC BY\n4").export(tiny_dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_generators_that_are_no_json_leave_nothing(tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tiny_dataset.path / "generators.json").write_text("{")
    with pytest.raises(DatasetError, match=r"generators\.json cannot be read: Expecting property name"):
        HuggingFaceExporter().export(tiny_dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("row", [0, 0], "out: two images have row number 0; export the dataset again"),
        ("row", [0, None], "out: image None: a number is missing, negative or too large"),
        ("row", [0, -1], "out: image -1: a number is missing, negative or too large"),
        ("role", ["parent", "dove"], "out: image 1: role: Input should be 'parent' or 'child'"),
        ("status", ["ok", "dove"], "out: image 1: status: Input should be 'ok', "),
        ("status", ["ok", "corrupt"], "out: image 1, 'b': its status is corrupt, but it has a file"),
        (
            "image",
            [{"bytes": encoded("PNG"), "path": None}, None],
            "image 1, 'b': its status is ok, but it has no file",
        ),
        ("sha256", [None, "0" * 64], "out: image 1, 'b': SHA-256 is not the one in its row; get the file again"),
        ("image_id", ["a", "a"], "two images are called a"),
        ("seed", None, "out: train has no column seed; export the dataset again"),
        ("image", None, "out: train has no column image; export the dataset again"),
        *(("image", some, "out: train has no column image; export the dataset again") for some in OTHERS),
    ],
)
def test_an_export_that_was_changed_says_where(
    column: str, change: list[Any] | None, message: str, tmp_path: Path
) -> None:
    rows = [ImageRow(name, "x", "parent", "images/a", "train") for name in ("a", "b")]
    captions = [CaptionRow("x", 0, "a cat")]
    HuggingFaceExporter().export(
        Odd(rows, captions, {"images/a": encoded("PNG")}).write(tmp_path / "in"), tmp_path / "out"
    )
    path = tmp_path / "out/data/train-00000-of-00001.parquet"
    table = pq.read_table(path)
    if change is None:
        table = table.drop_columns(column)
    else:
        columns = table.to_pydict() | {column: change}
        schema = None if change in OTHERS else table.schema
        table = table.from_pydict(columns, schema=schema)
    pq.write_table(table, path)
    with pytest.raises(DatasetError, match=message):
        HuggingFaceImporter(tmp_path / "out").import_to(tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_shard_that_was_called_otherwise_says_so(tmp_path: Path) -> None:
    row = ImageRow("a", "x", "parent", "images/a", "train")
    HuggingFaceExporter().export(Odd([row], [], {"images/a": encoded("PNG")}).write(tmp_path / "in"), tmp_path / "out")
    data = tmp_path / "out/data"
    (data / "train-00000-of-00001.parquet").rename(data / "extra-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match="out: extra is not the name of a split; export the dataset again"):
        HuggingFaceImporter(tmp_path / "out").import_to(tmp_path / "back")
