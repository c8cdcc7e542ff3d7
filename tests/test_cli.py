"""The command line as a user runs it: a process, its exit code, and the one line that says what is wrong."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from changeling.backbones.onnx import OnnxBackbone
from changeling.demo import STUDY
from changeling.detect.output import FIELDS
from tests import helpers


def changeling(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "changeling", *map(str, arguments)]
    wide = os.environ | {"COLUMNS": "250"}  # no path is cut
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=300, env=wide)


@pytest.fixture
def model(tiny_backbone: OnnxBackbone, tmp_path: Path) -> Path:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(4):
        path = tmp_path / "pictures" / ("deep" if number % 2 else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        helpers.natural(number).save(path)
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    (tmp_path / "pictures" / "notes.txt").write_text("not an image, not looked at")
    return tmp_path / "pictures"


def test_detect_writes_a_verdict_an_image_and_a_summary(model: Path, pictures: Path) -> None:
    ran = changeling("detect", pictures, "--model", model, "--format", "jsonl")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0
    assert [Path(row["path"]).name for row in rows] == ["0.png", "2.png", "broken.jpg", "1.png", "3.png"]
    assert all(tuple(row)[:6] == ("path", "label", "probability", "model", "status", "error") for row in rows)
    broken = rows.pop(2)
    assert (broken["label"], broken["probability"], broken["model"]) == (None, None, "tiny")
    assert broken["status"] in ("truncated", "corrupt", "unsupported")
    assert broken["error"]
    assert all(row["label"] in ("real", "fake", "unsure") and row["status"] == "ok" for row in rows)
    summary = ran.stderr.decode()
    assert summary.startswith("5 images: ")
    assert f"1 unreadable (1 {broken['status']})" in summary


def test_every_format_says_the_same(model: Path, pictures: Path, tmp_path: Path) -> None:
    said = {}
    for form in ("jsonl", "csv", "parquet"):
        output = tmp_path / f"verdicts.{form}"
        ran = changeling("detect", pictures, "--model", model, "--format", form, "--output", output)
        assert (ran.returncode, ran.stdout) == (0, b"")
        if form == "jsonl":
            said[form] = [list(json.loads(line).values()) for line in output.read_text().splitlines()]
        elif form == "csv":
            header, *rows = csv.reader(io.StringIO(output.read_text()))
            assert tuple(header) == FIELDS
            said[form] = [[value or None for value in row] for row in rows]
            said[form] = [[r[0], r[1], float(r[2]) if r[2] else None, *r[3:]] for r in said[form]]
        else:
            said[form] = [list(row.values()) for row in pq.read_table(output).to_pylist()]
    assert said["jsonl"] == said["csv"] == said["parquet"]
    table = changeling("detect", pictures, "--model", model).stdout.decode()
    assert all(name in table for name in ("0.png", "broken.jpg", "probability"))


def test_the_output_says_its_format_and_what_cannot_be_read_at_all_fails(model: Path, pictures: Path) -> None:
    output = pictures / "verdicts.csv"
    assert changeling("detect", pictures / "0.png", "--model", model, "--output", output).returncode == 0
    assert output.read_text().splitlines()[0] == ",".join(FIELDS)
    (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    ran = changeling("detect", pictures / "phone.heic", pictures / "gone.png", "--model", model, "--format", "jsonl")
    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == ["unsupported", "missing"]
    assert ran.returncode == 1
    assert changeling("--version").stdout.startswith(b"changeling ")


def test_a_list_on_standard_input(model: Path, pictures: Path) -> None:
    listed = f"{pictures}/3.png\n{pictures}/gone.png\n{pictures}/0.png\n".encode()
    ran = changeling("detect", "-", "--model", model, "--format", "jsonl", stdin=listed)
    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == ["missing", "missing", "ok"]


def test_a_dataset_from_import_to_report(tiny_onnx: Path, tmp_path: Path) -> None:
    lines = ["file,role,generator,group,split"]
    for number in range(24):
        split = ("train", "val", "test")[number % 3]
        for place, (role, make) in enumerate([("parent", helpers.natural), *[("child", helpers.generated)] * 2]):
            make(number + 100 * place).save(tmp_path / f"{number}-{place}.png")
            lines.append(f"{number}-{place}.png,{role},{'sd' if place else ''},c{number},{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    dataset, backbone = tmp_path / "dataset", f"onnx:{tiny_onnx}"
    (tmp_path / "gone.csv").write_text("file,role\n0-0.png,parent\nnope.png,parent\n")
    lost = changeling("import", "folder", tmp_path / "gone.csv", "--output", tmp_path / "lost").stderr
    assert b"1 file cannot be read (nope.png): see `status` in images.parquet" in lost
    imported = changeling("import", "folder", tmp_path / "list.csv", "--output", dataset)
    assert b"72 images (48 fake) in 24 clusters" in imported.stderr
    assert b"72 images encoded, 0 were done already" in changeling("extract", dataset, "--backbone", backbone).stderr
    assert b"0 images encoded, 72 were done already" in changeling("extract", dataset, "--backbone", backbone).stderr
    studied = changeling("study", dataset)
    assert studied.returncode == 0
    assert b"Table 1: " in studied.stdout
    assert (dataset / "report" / "index.html").stat().st_size > 10_000
    assert sorted(path.name for path in (dataset / "results").iterdir()) == [
        f"{name}.json"
        for name in ("confounds", "disentangle", "distances", "embedding", "gallery", "probe", "retrieval")
    ]
    assert b"Not run: " in studied.stdout  # there are no captions
    assert len(list((dataset / "heads").glob("*.safetensors"))) == 2
    assert (dataset / "tables.csv").read_text().startswith("experiment,")
    assert "\\toprule" in (dataset / "latex" / "distances.tex").read_text()
    again = changeling("report", dataset / "results", "--output", tmp_path / "again.html")
    assert again.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (dataset / "report" / "index.html").read_bytes()
    trained = changeling("train", dataset, "--backbone", backbone, "--output", tmp_path / "mine")
    assert trained.returncode == 0
    assert b"held-out AUROC" in trained.stdout
    ran = changeling("detect", tmp_path / "0-0.png", "--model", tmp_path / "mine", "--format", "jsonl")
    assert json.loads(ran.stdout)["model"] == "mine"


def test_extract_says_that_features_are_of_other_weights(tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "tiny")
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(tiny_onnx.read_bytes())
    assert changeling("extract", dataset.path, "--backbone", f"onnx:{mine}").returncode == 0
    helpers.tiny_onnx(mine, seed=1)
    ran = changeling("extract", dataset.path, "--backbone", f"onnx:{mine}")
    assert ran.returncode == 2
    assert b"was made with other weights" in ran.stderr


def test_a_study_file_is_all_that_a_study_needs(tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "tiny", clusters=24)
    written = changeling("init", tmp_path / "study.toml")
    assert written.returncode == 0
    text = (tmp_path / "study.toml").read_text()
    text = text.replace('"bundled" ', '"tiny" ', 1).replace("backbones = []", f'backbones = ["onnx:{tiny_onnx}@proj"]')
    text = text.replace("epochs = 25", "epochs = 2").replace('output = "study"', 'output = "deep/study"')
    (tmp_path / "study.toml").write_text(text)
    planned = changeling("study", tmp_path / "study.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"{len(dataset)} of {len(dataset)} images" in planned.stdout.decode()
    assert not (tmp_path / "deep").exists()
    assert not (dataset.path / "features").exists()
    studied = changeling("study", tmp_path / "study.toml")
    assert studied.returncode == 0, studied.stderr
    assert f"{len(dataset)} images encoded".encode() in studied.stderr
    output = tmp_path / "deep" / "study"
    assert (output / "report" / "index.html").exists()
    first = {path.name: path.read_bytes() for path in (output / "results").iterdir()}
    again = changeling("study", tmp_path / "study.toml")
    assert b"0 images encoded" in again.stderr
    assert {path.name: path.read_bytes() for path in (output / "results").iterdir()} == first  # bit for bit
    (output / "latex" / "mine.tex").write_text("somebody else's")
    (tmp_path / "study.toml").write_text(re.sub("(?m)^experiments = .*", 'experiments = ["distances"]', text))
    assert changeling("study", tmp_path / "study.toml").returncode == 0
    assert [path.name for path in (output / "results").iterdir()] == ["distances.json"]  # nothing of the first study
    assert sorted(path.name for path in (output / "latex").iterdir()) == ["distances.tex", "mine.tex"]
    assert "Table 2" not in (output / "report" / "index.html").read_text()
    shown = changeling("report", output, "--output", tmp_path / "new" / "page.html")
    assert shown.returncode == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == (output / "report" / "index.html").read_bytes()


@pytest.mark.parametrize("backbone", ["clip-vit-b61", "clip-vit-b16@pre"])
def test_the_bundled_clusters_are_not_extracted(backbone: str, tmp_path: Path) -> None:
    before = sorted(STUDY.rglob("*"))
    (tmp_path / "study.toml").write_text(f'backbones = ["clip-vit-b16", "{backbone}"]')
    for options in ([], ["--dry-run"]):
        ran = changeling("study", tmp_path / "study.toml", *options)
        assert ran.returncode == 2
        assert f"not by {backbone}, and their image files are not part of the package" in ran.stderr.decode()
    assert sorted(STUDY.rglob("*")) == before
    assert not (tmp_path / "study").exists()


def test_features_of_images_that_are_not_there_are_an_error(tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "tiny")
    for path in dataset.column("path"):
        dataset.resolve_path(path).unlink()
    ran = changeling("extract", dataset.path, "--backbone", f"onnx:{tiny_onnx}")
    assert ran.returncode == 2
    assert b"not one image can be read (42 missing)" in ran.stderr
    assert b"encoded" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "EMPTY"], "no images: "),
        (["detect", "no*match.jpg"], r"no images: no*match.jpg"),
        (["detect", "-"], "no images: standard input is empty"),
        (["detect", "x.jpg", "--model", "EMPTY"], "is not a detector: it needs model.json and head.safetensors"),
        (["detect", "x.jpg", "--format", "parquet", "--model", "MODEL"], "name a file with --output"),
        (["extract", "EMPTY", "--backbone", "clip-vit-b16"], "is not a dataset: it has no images.parquet"),
        (["extract", "DATASET", "--backbone", "clip"], "unknown backbone 'clip'; there are clip-vit-b16, dinov2"),
        (["extract", "DATASET", "--backbone", "onnx:none.onnx"], "none.onnx: no such ONNX file"),
        (["extract", "DATASET", "--backbone", "BACKBONE@blokcs"], "has no layer @blokcs; it has @proj"),
        (["study", "DATASET"], "has no features yet; run `changeling extract"),
        (["report", "EMPTY"], "no results"),
        (["train", "DATASET", "--output", "MODEL"], "is a detector already; choose another --output or remove it"),
        (["detect", "x.jpg", "--model", "MODEL", "--output", "."], "--output '.' is not a file to write"),
        (["import", "folder", "none.csv", "--output", "out"], "none.csv: no such folder or CSV file"),
        (["import", "folder", "EMPTY", "--output", "out"], "no images below real/ or fake/"),
        (["import", "folder", "BYTES", "--output", "out"], "the name is not UTF-8, which tables need; rename the file"),
        (["import", "folder", "SHORT", "--output", "out"], "2: no file is named"),
        (["extract", "DATASET", "--backbone", "STRANGE"], "describes its preprocessing wrongly"),
        (["study", "STUDYFILE"], "study.toml: there is no setting 'sed'; did you mean 'seed'?"),
        (["study", "EMPTY"], "is a folder, but no dataset: it has no images.parquet; name a study file or a dataset"),
        (["import", "coco", "EMPTY", "EMPTY", "--output", "out"], "is a folder; pass captions_*.json or Karpathy's"),
        (["study", "EMPTY/none.toml"], "none.toml: no such study file; `changeling init` writes one"),
        (["init", "STUDYFILE"], "study.toml exists already"),
        (["import", "cocofake", "k.json", "EMPTY", "--fakes", "EMPTY", "--output", "out"], "write GENERATOR=DIR"),
        (["import", "huggingface", "EMPTY", "--output", "out"], "empty"),
        (["import", "coco", "none.json", "EMPTY", "--output", "out"], "none.json cannot be read: No such file"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, model: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"EMPTY": tmp_path / "empty", "MODEL": model, "DATASET": tmp_path / "dataset"}
    helpers.tiny_dataset(tmp_path / "dataset")
    if "BYTES" in arguments:
        names["BYTES"] = tmp_path / "bytes"
        (tmp_path / "bytes" / "real").mkdir(parents=True)
        (tmp_path / "bytes" / "real" / os.fsdecode(b"caf\xe9.png")).touch()
    if "SHORT" in arguments:
        names["SHORT"] = tmp_path / "short.csv"
        names["SHORT"].write_text("role,file\nparent\n")
    if "STRANGE" in arguments:
        strange = onnx.load(tiny_onnx)
        next(p for p in strange.metadata_props if "preprocessing" in p.key).value = "{}"
        onnx.save(strange, tmp_path / "strange.onnx")
        names["STRANGE"] = Path(f"onnx:{tmp_path}/strange.onnx")
    if "STUDYFILE" in arguments:
        names["STUDYFILE"] = tmp_path / "study.toml"
        names["STUDYFILE"].write_text("sed = 1\n")
    filled = [str(names.get(a, a)) for a in arguments]
    filled = [a.replace("BACKBONE", f"onnx:{tiny_onnx}").replace("EMPTY/", f"{tmp_path}/empty/") for a in filled]
    ran = changeling(*filled)
    said = ran.stderr.decode()
    assert ran.returncode == 2, said
    assert ran.stdout == b""
    assert said.startswith("changeling: ")
    assert message in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_an_interrupt_ends_in_one_line(model: Path, pictures: Path, tmp_path: Path) -> None:
    listed = tmp_path / "many.txt"
    listed.write_text(f"{pictures}/0.png\n" * 200_000)
    command = [sys.executable, "-m", "changeling", "detect", "-", "--model", str(model), "--format", "jsonl"]
    output = tmp_path / "verdicts.jsonl"
    with listed.open("rb") as stdin:
        running = subprocess.Popen(
            [*command, "--output", str(output)],
            stdin=stdin,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        while not list(tmp_path.glob(".verdicts*")) and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.decode().strip() == "changeling: stopped"
    assert not output.exists()
    assert not list(tmp_path.glob(".verdicts*"))


def test_starting_the_detector_loads_nothing_heavy() -> None:
    script = "import sys, changeling.detect.detector, changeling.cli; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.decode().split()
    )
    heavy = {"torch", "sklearn", "scipy", "matplotlib", "pyarrow", "changeling.experiments", "changeling.report"}
    assert not loaded & heavy


def test_a_picture_that_is_a_bomb_is_a_row_and_not_a_warning(model: Path, tmp_path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "large.png")
    ran = changeling("detect", tmp_path / "large.png", "--model", model, "--format", "jsonl")
    assert json.loads(ran.stdout)["status"] == "oversized"
    assert b"Warning" not in ran.stderr
    assert os.linesep.encode() in ran.stderr
