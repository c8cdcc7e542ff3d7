"""What is exported comes back, hash for hash, through either format; what cannot be leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.exporters import shards
from changeling.datasets.exporters.huggingface import HuggingFaceExporter
from changeling.datasets.exporters.registry import EXPORTERS
from changeling.datasets.importers.base import Importer
from changeling.datasets.importers.registry import IMPORTERS
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError
from changeling.progress import Progress, silent
from tests import helpers
from tests.datasets.odd import FORMATS, Odd, encoded, odd_datasets
from tests.helpers import run_changeling

RESTORED = [name for name in EXPORTERS if name != "coco"]  # which holds no columns beside COCO's


@dataclass(frozen=True)
class RoundTrip:
    """Export to a format and import from it."""

    name: str

    def export(self, dataset: Dataset, output: Path, *, progress: Progress = silent) -> None:
        EXPORTERS[self.name]().export(dataset, output, progress=progress)

    def restore(self, folder: Path, output: Path) -> Dataset:
        importer: Callable[[Path], Importer] = IMPORTERS[self.name]
        return importer(folder).import_to(output)


@pytest.fixture(params=RESTORED)
def round_trip(request: pytest.FixtureRequest) -> RoundTrip:
    return RoundTrip(request.param)


def assert_equal(dataset: Dataset, original: Dataset) -> None:
    """Everything but the paths, and every byte that they lead to."""
    assert dataset.hash == original.hash
    assert dataset.images.drop_columns("path").equals(original.images.drop_columns("path"))
    assert dataset.captions.equals(original.captions)
    for new, old, status in zip(
        dataset.column("path"), original.column("path"), original.column("status"), strict=True
    ):
        if status == "ok":
            assert dataset.resolve_path(new).read_bytes() == original.resolve_path(old).read_bytes()
        else:
            assert new == ""


@pytest.mark.parametrize("name", RESTORED)
@settings(max_examples=60)
@given(odd=odd_datasets())
def test_nothing_is_lost(name: str, odd: Odd) -> None:
    round_trip = RoundTrip(name)
    with TemporaryDirectory() as folder:
        original = odd.write(Path(folder, "in"))
        round_trip.export(original, Path(folder, "out"))
        assert_equal(round_trip.restore(Path(folder, "out"), Path(folder, "back")), original)


def test_a_file_is_called_by_what_it_is(round_trip: RoundTrip, tmp_path: Path) -> None:
    files = {f"images/{image_format}": encoded(image_format) for image_format in FORMATS}
    rows = [ImageRow(path, path, "parent", path, "train") for path in files]
    round_trip.export(Odd(rows, [], files).write(tmp_path / "in"), tmp_path / "out")
    dataset = round_trip.restore(tmp_path / "out", tmp_path / "back")
    assert [Path(path).suffix for path in dataset.column("path")] == list(FORMATS.values())


def test_a_dataset_of_many_rows_keeps_its_order_and_its_captions(
    round_trip: RoundTrip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_BATCH", 7)
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    data = encoded("PNG")
    rows = [
        ImageRow(
            image_id=f"{number}",
            cluster_id=f"{number % 10}",
            role="child",
            path="images/a" if number % 9 else "",
            split=("train", "val", "test")[number % 10 % 3],
            caption_index=number % 3,
            generator="sd",
            status="ok" if number % 9 else "flagged",
        )
        for number in range(60)
    ]
    captions = [CaptionRow(f"{number % 10}", number // 10, f"{number}") for number in range(30)]
    original = Odd(rows, captions, {"images/a": data}).write(tmp_path / "in")
    seen: list[tuple[str, int, int]] = []
    HuggingFaceExporter().export(original, tmp_path / "hub", progress=lambda *call: seen.append(call))
    assert seen == [("exporting", done, 60) for done in range(1, 61)]
    round_trip.export(original, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".tar", ".parquet")]
    assert len(files) > 8
    assert all(path.stat().st_size < 25_000 for path in files)
    assert_equal(round_trip.restore(tmp_path / "out", tmp_path / "back"), original)
    rows_of_hub = [row for path in sorted((tmp_path / "hub/data").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert all(row["caption"] == row["captions"][row["caption_index"]] for row in rows_of_hub)
    assert {row["caption"] for row in rows_of_hub if row["cluster_id"] == "4"} == {"4", "14", "24"}


def test_each_file_is_opened_once(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    with helpers.FileOpens(tiny_dataset.path / "images") as opens:
        round_trip.export(tiny_dataset, tmp_path / "out")
    assert set(opens.counts.values()) == {1}
    assert len(opens.counts) == len(tiny_dataset)
    with helpers.FileOpens(tmp_path / "back/images") as opens:
        round_trip.restore(tmp_path / "out", tmp_path / "back")
    assert opens.counts == {}


def test_the_same_dataset_gives_the_same_bytes(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tiny_dataset.path / "generators.json").write_text('{"alpha": {"steps": 50}}')
    round_trip.export(tiny_dataset, tmp_path / "first")
    round_trip.export(tiny_dataset, tmp_path / "second")
    assert helpers.contents(tmp_path / "first") == helpers.contents(tmp_path / "second")
    back = round_trip.restore(tmp_path / "first", tmp_path / "back")
    assert (back.path / "generators.json").read_text() == '{"alpha": {"steps": 50}}'
    round_trip.export(back, tmp_path / "again")  # and what was restored gives them, too, but for the name in the card
    first, again = helpers.contents(tmp_path / "first"), helpers.contents(tmp_path / "again")
    assert {name: data for name, data in first.items() if name != "README.md"} == {
        name: data for name, data in again.items() if name != "README.md"
    }


def test_a_folder_that_holds_something_is_refused(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"out exists already; choose another output folder$"):
        round_trip.export(tiny_dataset, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"thesis\.txt exists already"):
        round_trip.export(tiny_dataset, tmp_path / "out/thesis.txt")
    assert helpers.contents(tmp_path / "out") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("c05-1.png", None, "image 'c05-1', 'images/c05-1.png': cannot be read: No such file or directory; restore"),
        ("c05-1.png", b"", "image 'c05-1', 'images/c05-1.png': the file has no bytes; restore"),
        (
            "c05-1.png",
            encoded("PNG"),
            "image 'c05-1', .*: its SHA-256 is not the one in images.parquet; restore .*`changeling build redraw`",
        ),
    ],
)
def test_a_file_that_is_not_what_its_row_says_leaves_nothing(
    name: str, data: bytes | None, message: str, round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    (tiny_dataset.path / "images" / name).unlink()
    if data is not None:
        (tiny_dataset.path / "images" / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        round_trip.export(tiny_dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_there_before_a_failure_stays(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    """Even what another program puts there meanwhile."""
    (tiny_dataset.path / "images/c11-3.png").write_bytes(encoded("PNG"))

    def late(_: str, done: int, total: int) -> None:
        if done == total - 10:
            (tmp_path / "out/late.txt").write_text("mine")

    with pytest.raises(DatasetError, match="SHA-256"):
        round_trip.export(tiny_dataset, tmp_path / "out", progress=late)
    assert helpers.contents(tmp_path / "out") == {"late.txt": b"mine"}


def test_what_is_no_image_is_not_sent_as_one(round_trip: RoundTrip, tmp_path: Path) -> None:
    odd = Odd([ImageRow("a\nb", "a", "parent", "images/a", "train")], [], {"images/a": b"nonsense"})
    with pytest.raises(DatasetError, match=r"^image 'a\\nb', 'images/a': is not an image of a supported format"):
        round_trip.export(odd.write(tmp_path / "in"), tmp_path / "out")


def test_a_dataset_is_not_overwritten(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    round_trip.export(tiny_dataset, tmp_path / "out")
    before = helpers.contents(tiny_dataset.path)
    with pytest.raises(DatasetError, match="is a dataset already; choose another output folder or remove it"):
        round_trip.restore(tmp_path / "out", tiny_dataset.path)
    assert helpers.contents(tiny_dataset.path) == before


def test_a_missing_shard_is_an_error(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    round_trip.export(tiny_dataset, tmp_path / "out")
    next((tmp_path / "out").rglob("test-*")).unlink()
    with pytest.raises(
        DatasetError, match=r"out has 30 of 42 images: .*; get the complete export, or remove changeling\.json"
    ):
        round_trip.restore(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back/images.parquet").exists()
    (tmp_path / "out/changeling.json").unlink()
    some = round_trip.restore(tmp_path / "out", tmp_path / "some")
    assert sorted(zip(some.column("image_id"), some.column("sha256"), some.column("split"), strict=True)) == sorted(
        row
        for row in zip(*(tiny_dataset.column(name) for name in ("image_id", "sha256", "split")), strict=True)
        if row[2] != "test"
    )


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ('{"format": 2, "images": 42}', r"changeling\.json cannot be read: format: Input should be 1"),
        ('{"format": 1}', r"changeling\.json cannot be read: images: Field required"),
        ("{", r"changeling\.json cannot be read: : Invalid JSON"),
    ],
)
def test_a_strange_manifest_says_so(
    manifest: str, message: str, round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    round_trip.export(tiny_dataset, tmp_path / "out")
    (tmp_path / "out/changeling.json").write_text(manifest)
    with pytest.raises(DatasetError, match=message):
        round_trip.restore(tmp_path / "out", tmp_path / "back")


def test_broken_captions_say_so(round_trip: RoundTrip, tiny_dataset: Dataset, tmp_path: Path) -> None:
    round_trip.export(tiny_dataset, tmp_path / "out")
    (tmp_path / "out/captions/captions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"captions\.parquet cannot be read"):
        round_trip.restore(tmp_path / "out", tmp_path / "back")
    pq.write_table(tiny_dataset.images, tmp_path / "out/captions/captions.parquet")
    with pytest.raises(DatasetError, match=r"captions\.parquet cannot be read: .*caption"):
        round_trip.restore(tmp_path / "out", tmp_path / "back")


def test_images_that_lie_elsewhere_come_along(round_trip: RoundTrip, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(encoded("PNG"))
    digest = hashlib.sha256(encoded("PNG")).hexdigest()
    row = ImageRow("a", "a", "parent", str(tmp_path / "elsewhere.png"), "train", sha256=digest)
    lost = replace(row, image_id="b", path=str(tmp_path / "gone.png"), sha256=None, status="missing", error="no such")
    original = write_dataset(tmp_path / "in", [row, lost])
    round_trip.export(original, tmp_path / "out")
    assert_equal(round_trip.restore(tmp_path / "out", tmp_path / "back"), original)


@pytest.mark.parametrize("name", RESTORED)
def test_the_command_line_there_and_back(name: str, tiny_dataset: Dataset, tmp_path: Path) -> None:
    there = run_changeling("export", name, tiny_dataset.path, "--output", tmp_path / "out")
    assert (there.returncode, there.stdout) == (0, ""), there.stderr
    assert json.loads((tmp_path / "out/changeling.json").read_text()) == {"format": 1, "images": 42}
    back = run_changeling("import", name, tmp_path / "out", "--output", tmp_path / "back")
    assert back.returncode == 0, back.stderr
    assert "back: 42 images (30 fake) in 12 clusters, 36 captions" in back.stderr
    assert_equal(Dataset(tmp_path / "back"), tiny_dataset)
    again = run_changeling("export", name, tiny_dataset.path, "--output", tmp_path / "out")
    assert again.returncode == 2
    assert again.stderr.startswith("changeling: ")
    assert "out exists already" in again.stderr
