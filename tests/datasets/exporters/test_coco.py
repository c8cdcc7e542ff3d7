"""What others see of an export in the layout of COCO: images, and captions by their `image_id`."""

from __future__ import annotations

import json
from pathlib import Path

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.exporters.coco import CocoExporter
from changeling.datasets.importers.coco import read_coco
from changeling.datasets.schema import CaptionRow, ImageRow
from tests.datasets.odd import encoded


def test_every_image_has_its_file_row_and_captions(tiny_dataset: Dataset, tmp_path: Path) -> None:
    CocoExporter().export(tiny_dataset, tmp_path / "out")
    rows, count = tiny_dataset.images.to_pylist(), 0
    texts = {(row["cluster_id"], row["caption_index"]): row["caption"] for row in tiny_dataset.captions.to_pylist()}
    for split in ("train", "val", "test"):
        content = json.loads((tmp_path / "out" / "annotations" / f"captions_{split}.json").read_text(encoding="utf-8"))
        assert len({annotation["id"] for annotation in content["annotations"]}) == len(content["annotations"])
        for image in content["images"]:
            row = rows[image["id"]]
            data = (tmp_path / "out" / split / image["file_name"]).read_bytes()
            assert data == tiny_dataset.resolve_path(row["path"]).read_bytes()
            for column in ("image_id", "role", "generator", "cluster_id", "width", "height"):
                assert image[column] == row[column]
            captions = [entry["caption"] for entry in content["annotations"] if entry["image_id"] == image["id"]]
            own = [text for (cluster, _), text in texts.items() if cluster == row["cluster_id"]]
            assert captions == (own if row["role"] == "parent" else [texts[row["cluster_id"], row["caption_index"]]])
            assert row["split"] == split
            count += 1
    assert count == len(rows)
    imported = list(read_coco(tmp_path / "out/annotations/captions_val.json", tmp_path / "out/val"))
    assert len(imported) == rows_of(rows, "val")


def rows_of(rows: list[dict[str, object]], split: str) -> int:
    return sum(row["split"] == split for row in rows)


def test_rows_without_an_image_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    images = [
        ImageRow("a", "c", "parent", "../a.png", "test", "camera", width=8, height=6),
        ImageRow("b", "c", "child", "", "test", "camera", generator="sd", status="flagged", error="flagged"),
    ]
    notes: list[str] = []
    dataset = write_dataset(tmp_path / "dataset", images, [CaptionRow("c", 0, "one")])
    CocoExporter().export(dataset, tmp_path / "out", note=notes.append)
    content = json.loads((tmp_path / "out/annotations/captions_test.json").read_text())
    assert [image["image_id"] for image in content["images"]] == ["a"]
    assert content["annotations"] == [{"id": 1, "image_id": 0, "caption": "one"}]
    assert notes == ["1 row without an image left out"]
