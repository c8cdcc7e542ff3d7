"""An audit finds each planted fault, by its name, and nothing else; and nothing where nothing is wrong."""

import csv
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.datasets.audit.audit import audit_dataset
from changeling.datasets.audit.findings import ERRORS, KINDS, Audit, Finding, make_table, write_findings
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.folder import read_folder
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import ImageError
from changeling.images.decode import inspect_image, read_file
from changeling.images.encode import PNG_ENCODING, encode_for_web, encode_image, jpeg_encoding
from tests import helpers, hostile
from tests.helpers import run_unprivileged

CLUSTERS = 8


@dataclass
class Tables:
    """A dataset in the making: its rows by image_id, and its captions."""

    folder: Path
    images: dict[str, ImageRow]
    captions: list[CaptionRow]

    def change(self, name: str, **values: object) -> None:
        self.images[name] = replace(self.images[name], **values)  # type: ignore[arg-type]

    def place(self, name: str, data: bytes) -> None:
        """Put other bytes where a row's file is, and have the row say so."""
        path = self.folder / self.images[name].path
        path.write_bytes(data)
        try:
            file = read_file(path)
            info = inspect_image(file)
        except ImageError:
            return
        values = {"width": info.width, "height": info.height, "format": info.format, "sha256": file.sha256}
        self.change(name, **values)

    def audit(self) -> Audit:
        return audit_dataset(write_dataset(self.folder, self.images.values(), self.captions))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Eight clusters of a parent and two children, each of its own picture; the first two train, the others test."""
    folder = tmp_path / "dataset"
    (folder / "images").mkdir(parents=True)
    made = Tables(folder, {}, [])
    for cluster in range(CLUSTERS):
        made.captions += [CaptionRow(f"c{cluster}", index, f"Scene {cluster}, {index}.") for index in range(2)]
        for place in range(3):
            name = f"c{cluster}-{place}"
            row = ImageRow(name, f"c{cluster}", "parent", f"images/{name}.jpg", "test" if cluster > 1 else "train")
            if place:
                row = replace(row, role="child", caption_index=place - 1, generator="sd")
            made.images[name] = row
            made.place(name, encode_image(helpers.coarse_picture(10 * cluster + place), jpeg_encoding(90)))
    return made


def list_findings(found: Audit) -> list[tuple[str, str]]:
    return [(finding.kind, finding.name) for finding in found.findings]


def resaved(tables: Tables, name: str) -> bytes:
    """A picture as a web page would show it: smaller, and saved again."""
    with Image.open(tables.folder / tables.images[name].path) as image:
        return encode_for_web(image.convert("RGB").resize((200, 150), Image.Resampling.LANCZOS))


def test_a_clean_dataset_gives_nothing(tables: Tables) -> None:
    found = tables.audit()
    assert list_findings(found) == []
    assert found.summary == "24 images in 8 clusters: no errors or warnings"


def _missing(tables: Tables) -> None:
    (tables.folder / "images" / "c3-1.jpg").unlink()


def _unreadable(tables: Tables) -> None:
    path = tables.folder / "images" / "c3-1.jpg"
    path.write_bytes(path.read_bytes()[:-900])


def _no_image(tables: Tables) -> None:
    (tables.folder / "images" / "c3-1.jpg").write_text("this is not an image")


def _changed(tables: Tables) -> None:
    (tables.folder / "images" / "c3-1.jpg").write_bytes(encode_image(helpers.coarse_picture(999), jpeg_encoding(90)))


def _size(tables: Tables) -> None:
    tables.change("c3-1", width=321)


def _format(tables: Tables) -> None:
    tables.change("c3-1", format="PNG")


def _leak(tables: Tables) -> None:
    tables.place("c3-1", resaved(tables, "c0-0"))


def _same_file_in_two_splits(tables: Tables) -> None:
    tables.place("c3-1", (tables.folder / "images" / "c0-0.jpg").read_bytes())


def _duplicate(tables: Tables) -> None:
    tables.place("c3-1", resaved(tables, "c2-2"))


def _black(tables: Tables) -> None:
    for name in ("c3-1", "c5-2"):  # which are no duplicates for that
        tables.place(name, encode_image(Image.new("RGB", (64, 64)), jpeg_encoding(90)))


def _one_colour(tables: Tables) -> None:
    tables.place("c3-1", encode_image(Image.new("RGB", (640, 480), (30, 90, 200)), jpeg_encoding(60)))


def _flagged(tables: Tables) -> None:
    (tables.folder / "images" / "c3-1.jpg").unlink()
    tables.change("c3-1", status="flagged", error="by the safety checker, five times")


def _failed(tables: Tables) -> None:
    tables.change("c3-1", status="truncated", error="cannot be decoded")


def _no_parent(tables: Tables) -> None:
    del tables.images["c3-0"]
    (tables.folder / "images" / "c3-0.jpg").unlink()


def _caption_not_said(tables: Tables) -> None:
    tables.change("c3-1", caption_index=None)


def _caption_not_there(tables: Tables) -> None:
    tables.change("c3-1", caption_index=7)


def _repeated_caption(tables: Tables) -> None:
    tables.captions.append(CaptionRow("c3", 2, "scene 0,  1"))


def _orphan(tables: Tables) -> None:
    (tables.folder / "images" / "deep").mkdir()
    (tables.folder / "images" / "deep" / "c3-1.jpg").write_bytes(b"")


def _leftover(tables: Tables) -> None:
    for place in (".", "images"):
        (tables.folder / place / ".part-00001.parquet.0123456789abcdef.tmp").write_bytes(b"half")


PLANTED: list[tuple[Callable[[Tables], None], list[tuple[str, str]], str]] = [
    (_missing, [("missing", "c3-1")], "images/c3-1.jpg: no such file"),
    (_unreadable, [("unreadable", "c3-1")], "images/c3-1.jpg: cannot be decoded: "),
    (_no_image, [("unreadable", "c3-1")], "images/c3-1.jpg: is not an image"),
    (_changed, [("changed", "c3-1")], "SHA-256 is not the one in the row"),
    (_size, [("mismatch", "c3-1")], "width is 320, not 321"),
    (_format, [("mismatch", "c3-1")], "format is JPEG, not PNG"),
    (_leak, [("leak", "c3-1")], "in test, the same picture as c0-0 in train"),
    (_same_file_in_two_splits, [("leak", "c3-1")], "in test, the same picture as c0-0 in train"),
    (_duplicate, [("duplicate", "c3-1")], "in test, the same picture as c2-2 in test"),
    (_black, [("flat", "c3-1"), ("flat", "c5-2")], "#000000 everywhere"),
    (_one_colour, [("flat", "c3-1")], "everywhere"),
    (_flagged, [("flagged", "c3-1")], "flagged: by the safety checker, five times"),
    (_failed, [("failed", "c3-1")], "truncated: cannot be decoded"),
    (_no_parent, [("no parent", "c3")], "its first image is c3-1"),
    (_caption_not_said, [("no caption", "c3-1")], "it has no caption_index"),
    (_caption_not_there, [("no caption", "c3-1")], "c3 has no caption 7"),
    (_repeated_caption, [("repeated caption", "c3")], "'scene 0,  1', also in c0 in train"),
    (_orphan, [("orphan", "images/deep/c3-1.jpg")], "no row names it"),
    (
        _leftover,
        [(("leftover"), f"{place}.part-00001.parquet.0123456789abcdef.tmp") for place in ("", "images/")],
        "remove it",
    ),
]


@pytest.mark.parametrize(("plant", "wanted", "detail"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found_and_nothing_else(
    plant: Callable[[Tables], None], wanted: list[tuple[str, str]], detail: str, tables: Tables
) -> None:
    plant(tables)
    found = tables.audit()
    assert list_findings(found) == wanted
    assert detail in found.findings[0].detail
    assert bool(found.errors) == (wanted[0][0] in ERRORS)


def test_every_kind_is_planted_and_the_gravest_is_said_first(tables: Tables) -> None:
    assert {kind for _, found, _ in PLANTED for kind, _ in found} == set(KINDS)
    for plant in (_orphan, _leak):
        plant(tables)
    (tables.folder / "images" / "c4-1.jpg").unlink()
    assert [kind for kind, _ in list_findings(tables.audit())] == ["leak", "missing", "orphan"]


def test_images_of_one_cluster_may_be_alike(tables: Tables) -> None:
    tables.place("c3-1", resaved(tables, "c3-0"))
    tables.place("c3-2", (tables.folder / "images" / "c3-0.jpg").read_bytes())
    assert list_findings(tables.audit()) == []


def test_of_many_that_are_the_same_each_but_the_first_is_told_once(tables: Tables) -> None:
    for number in range(3, CLUSTERS):
        tables.place(f"c{number}-1", resaved(tables, "c2-2"))
    tables.place("c1-2", resaved(tables, "c2-2"))  # the first, and in the other split
    assert list_findings(tables.audit()) == [
        ("leak", f"c{number}-{2 if number == 2 else 1}") for number in range(2, CLUSTERS)
    ]


def test_the_same_bytes_are_found_behind_another_picture_with_the_same_print(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All perceptual hashes are equal: the thumbnails or the SHA-256 decide."""
    monkeypatch.setattr("changeling.datasets.audit.file_checks.perceptual_hash", lambda _: np.zeros(2, np.uint64))
    tables.place("c7-2", (tables.folder / "images" / "c1-0.jpg").read_bytes())
    assert list_findings(tables.audit()) == [("leak", "c7-2")]


def test_pictures_of_one_luma_are_not_one_picture(tables: Tables) -> None:
    """Their colours differ, their greys do not."""
    for name, (red, green) in {"c0-0": ((255, 0, 0), (0, 130, 0)), "c3-0": ((0, 130, 0), (255, 0, 0))}.items():
        image = Image.new("RGB", (320, 240), red)
        image.paste(green, (100, 0, 220, 240))
        tables.place(name, encode_image(image, PNG_ENCODING))
        assert np.ptp(np.asarray(image.convert("L"))) == 0
    assert list_findings(tables.audit()) == []


def test_children_of_parents_rather_than_captions_and_single_images_lack_nothing(
    tables: Tables, tmp_path: Path
) -> None:
    for name in [name for name, row in tables.images.items() if row.role == "child"]:
        tables.change(name, caption_index=None)
    assert list_findings(tables.audit()) == []
    for number, kind in enumerate(("real", "fake")):
        path = tmp_path / "single" / kind / "x.jpg"
        path.parent.mkdir(parents=True)
        helpers.coarse_picture(number).save(path)
    assert list_findings(audit_dataset(import_dataset(read_folder(tmp_path / "single"), tmp_path / "out"))) == []


def test_fine_patterns_are_not_one_colour(tables: Tables) -> None:
    board = Image.effect_noise((64, 64), 1).point([0, 255] * 128).convert("RGB")
    tables.place("c3-1", encode_image(board, jpeg_encoding(98, 0)))
    assert list_findings(tables.audit()) == []


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_hostile_files_become_findings(tmp_path: Path) -> None:
    rows, wanted = [], {}
    for number, case in enumerate(hostile.cases()):
        folder = tmp_path / "files" / str(number)
        folder.mkdir(parents=True)
        path = case.make(folder)
        if case.status != "denied" and path.isprintable() and path:  # a table holds no other name
            rows.append(ImageRow(str(number), str(number), "parent", path, "train"))
            wanted[str(number)] = case.status
    found = audit_dataset(write_dataset(tmp_path / "dataset", rows))
    broken = {finding.name: finding.kind for finding in found.findings if finding.kind in ERRORS}
    assert broken == {
        name: "missing" if status == "missing" else "unreadable" for name, status in wanted.items() if status != "ok"
    }


def test_a_file_that_may_not_be_read_is_a_finding(tables: Tables) -> None:
    tables.audit()
    (tables.folder / "images" / "c3-1.jpg").chmod(0)
    script = """if True:
        import pathlib, sys
        from changeling.datasets.audit.audit import audit_dataset
        from changeling.datasets.dataset import Dataset
        print(*audit_dataset(Dataset(pathlib.Path(sys.argv[1]))).findings)
    """
    assert "permission denied" in run_unprivileged(script, str(tables.folder))


def test_real_photographs_are_known_again_and_not_mistaken(tmp_path: Path) -> None:
    """As they are; then each third one again in another cluster, smaller and saved again."""
    files = helpers.photographs(tmp_path / "photographs", 140)
    rows = [ImageRow(p.name, p.name, "parent", str(p), ("train", "test")[n % 2]) for n, p in enumerate(files)]
    assert not audit_dataset(write_dataset(tmp_path / "once", rows)).findings
    again: list[ImageRow] = []
    for number, row in enumerate(rows[::3]):
        with Image.open(row.path) as image:
            scale = (0.5, 0.75, 1.0)[number % 3]
            smaller = image.convert("RGB").resize((int(scale * image.width), int(scale * image.height)))
        path = tmp_path / f"{number}.img"
        path.write_bytes(encode_image(smaller, jpeg_encoding((60, 75, 90)[number % 3])))
        again.append(ImageRow(f"again-{row.image_id}", f"again-{row.cluster_id}", "parent", str(path), "test"))
    found = audit_dataset(write_dataset(tmp_path / "twice", [*rows, *again]))
    pairs = {(finding.name, finding.detail.split("same picture as ")[1].split()[0]) for finding in found.findings}
    assert {finding.kind for finding in found.findings} == {"leak", "duplicate"}
    assert pairs <= {(row.image_id, row.image_id.removeprefix("again-")) for row in again}
    assert len(again) - len(pairs) <= 1 + len(again) // 40  # smooth ones, such as a sky


def test_what_is_written_can_be_read_by_others_and_shown_on_any_terminal(tmp_path: Path) -> None:
    odd = Finding.printable("orphan", "images/\x1b[31m\udcff,\n[red].png", "no row names it")
    many = [Finding.printable("missing", f"i{number}", "no such file") for number in range(9)]
    found = Audit(10, 10, (*many, odd))
    write_findings(found, tmp_path / "audit.csv")
    with (tmp_path / "audit.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert rows[-1] == {
        "kind": "orphan",
        "name": r"images/\x1b[31m\udcff,\n[red].png",
        "detail": "no row names it",
    }
    shown = "\n".join(_text(make_table(found).columns[2].cells))
    assert shown.count("no such file") == 3
    assert r"\[red]" in shown


def _text(cells: Iterable[object]) -> list[str]:
    return [str(cell) for cell in cells]


def test_the_command_says_what_it_found_by_its_exit_code_too(tables: Tables, tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return helpers.run_changeling("audit", tables.folder, *options)

    tables.audit()
    clean = run()
    assert (clean.returncode, clean.stdout) == (0, "")
    assert clean.stderr == f"{tables.folder}: 24 images in 8 clusters: no errors or warnings\n"
    _orphan(tables)
    assert run().returncode == 0
    (tables.folder / "build").mkdir()  # it is being built
    assert "`changeling build` has not finished are orphans" in run().stderr
    (tables.folder / "build").rmdir()
    _missing(tables)
    broken = run("--output", str(tmp_path / "audit.csv"))
    assert broken.returncode == 1
    assert broken.stderr == f"{tables.folder}: 24 images in 8 clusters: 1 error, 1 warning\n"
    assert "no such file" in " ".join(broken.stdout.split())
    assert (tmp_path / "audit.csv").read_text().splitlines()[:2] == [
        "kind,name,detail",
        "missing,c3-1,images/c3-1.jpg: no such file",
    ]
    (tables.folder / "build").mkdir()
    assert "`changeling build redraw STUDY ID`" in run().stderr
    (tables.folder / "images.parquet").unlink()
    assert run().returncode == 2


def test_a_dataset_of_one_image_is_audited(tmp_path: Path) -> None:
    helpers.coarse_picture(0).save(tmp_path / "x.png")
    rows = [ImageRow("x", "x", "parent", "x.png", "train")]
    assert list_findings(audit_dataset(write_dataset(tmp_path, rows))) == []
    assert len(Dataset(tmp_path)) == 1


def test_a_file_that_has_changed_is_no_leak_by_the_hash_that_it_had(tables: Tables) -> None:
    tables.place("c3-1", (tables.folder / "images" / "c0-0.jpg").read_bytes())
    (tables.folder / "images" / "c3-1.jpg").write_bytes(encode_image(helpers.coarse_picture(999), jpeg_encoding(90)))
    assert list_findings(tables.audit()) == [("changed", "c3-1")]


def test_each_file_is_opened_once(tables: Tables) -> None:
    """Also the files of pictures that are compared with each other."""
    tables.place("c3-1", resaved(tables, "c2-2"))
    tables.place("c4-1", encode_image(Image.new("RGB", (64, 64)), jpeg_encoding(90)))
    dataset = write_dataset(tables.folder, tables.images.values(), tables.captions)
    with helpers.FileOpens(tables.folder) as opens:
        found = audit_dataset(dataset)
    assert list_findings(found) == [("flat", "c4-1"), ("duplicate", "c3-1")]
    assert opens.counts == dict.fromkeys((row.path for row in tables.images.values()), 1)
