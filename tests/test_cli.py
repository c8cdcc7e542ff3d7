"""The command line as a user runs it: what it prints, its exit codes, and its errors in one line."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from changeling import __version__
from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.detect import detection, verdict_parts
from changeling.detect.detection import Detection
from changeling.detect.detector import Detector
from changeling.detect.output import FIELDS
from changeling.detect.runtime_names import Runtime
from changeling.detect.verdict_parts import VerdictParts
from changeling.errors import WeightsError
from changeling.experiments import probe_curve
from changeling.experiments.registry import EXPERIMENTS
from tests import helpers
from tests.helpers import contents, run_changeling


def run_process(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "changeling", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=os.environ | environment
    )


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


def test_detect_prints_one_verdict_per_image_and_a_summary(model: Path, pictures: Path) -> None:
    ran = run_changeling("detect", pictures, "--model", model, "--format", "jsonl")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0
    assert [Path(row["path"]).name for row in rows] == ["0.png", "2.png", "broken.jpg", "1.png", "3.png"]
    assert all(tuple(row)[:6] == ("path", "label", "probability", "model", "status", "error") for row in rows)
    broken = rows.pop(2)
    assert (broken["label"], broken["probability"], broken["model"]) == (None, None, "tiny")
    assert broken["status"] in ("truncated", "corrupt", "unsupported")
    assert broken["error"]
    assert all(row["label"] in ("real", "fake", "unsure") and row["status"] == "ok" for row in rows)
    left_out, summary, *_ = ran.stderr.splitlines()
    assert left_out == f"1 file without the suffix of an image was left out: {pictures / 'notes.txt'}"
    assert summary.startswith("5 images: ")
    assert f"1 unreadable (1 {broken['status']})" in ran.stderr


def test_detect_says_where_verdicts_are_what_is_missing_and_what_to_do(model: Path, pictures: Path) -> None:
    output = pictures / "verdicts.csv"
    ran = run_changeling("detect", pictures / "0.png", "no such.png", "--model", model, "--output", output)
    assert ran.stderr.endswith(f"\nVerdicts: {output}\n")
    assert "Missing: check the spelling" in ran.stderr
    ran = run_changeling("detect", "no such.png", "--model", model)
    assert (ran.returncode, "Fake: a probability" in ran.stderr) == (1, False)


def test_inspect_prints_verdicts_and_evidence(model: Path, pictures: Path) -> None:
    ran = run_changeling("inspect", pictures, "--model", model, "--format", "json")
    rows = json.loads(ran.stdout)
    assert (ran.returncode, len(rows)) == (0, 5)
    for row in rows:
        assert (row["probability"] is None) == (row["evidence"] == []) == ("broken" in row["path"])
    text = run_changeling("inspect", pictures / "0.png", "--model", model).stdout
    assert text.startswith(f"{pictures / '0.png'}\n  Verdict: ")


def test_inspect_without_a_score_needs_no_weights(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise WeightsError("the index cannot be reached")

    monkeypatch.setattr(Detector, "load", load)
    for arguments, note in ((["--no-score"], ""), ([], "no verdicts: the index cannot be reached\n")):
        ran = run_changeling("inspect", pictures / "0.png", *arguments, "--format", "jsonl")
        assert (ran.returncode, ran.stderr) == (0, note)
        assert list(json.loads(ran.stdout)) == ["path", "status", "error", "evidence"]


def test_inspect_exits_with_1_if_no_file_can_be_read(pictures: Path) -> None:
    ran = run_changeling("inspect", pictures / "broken.jpg", pictures / "none.jpg", "--no-score")
    assert ran.returncode == 1
    assert "truncated: " in ran.stdout
    assert "missing: no such file" in ran.stdout


@pytest.mark.parametrize("options", [[], ["--stable"]])
def test_detect_adds_evidence_to_verdicts(options: list[str], model: Path, pictures: Path) -> None:
    command = ["detect", str(pictures), "--model", str(model), "--format", "jsonl", *options]
    plain, with_evidence = (
        run_changeling(*command, *evidence).stdout.splitlines() for evidence in ([], ["--evidence"])
    )
    for line, other in zip(plain, with_evidence, strict=True):
        row = json.loads(other)
        assert len(row.pop("evidence")) in (0, 4)
        assert row == json.loads(line)


def read_cell(field: str, cell: str) -> str | float | None:
    """Return a cell of a CSV file of verdicts as JSON has it."""
    if not cell:
        return None
    return float(cell) if field in ("probability", "lowest", "highest") else cell


@pytest.mark.parametrize("options", [[], ["--stable"]])
def test_all_formats_hold_the_same_verdicts(options: list[str], model: Path, pictures: Path, tmp_path: Path) -> None:
    output = {}
    for name in ("json", "jsonl", "csv", "parquet"):
        output[name] = tmp_path / f"verdicts.{name}"
        ran = run_changeling("detect", pictures, "--model", model, "--format", name, "--output", output[name], *options)
        assert (ran.returncode, ran.stdout) == (0, "")
    verdicts = [list(json.loads(line).values()) for line in output["jsonl"].read_text().splitlines()]
    assert all((verdict[-1] is None) == (not options or verdict[2] is None) for verdict in verdicts)
    assert [list(row.values()) for row in json.loads(output["json"].read_text())] == verdicts
    header, *csv_rows = csv.reader(io.StringIO(output["csv"].read_text()))
    assert tuple(header) == FIELDS
    assert [[read_cell(*cell) for cell in zip(FIELDS, row, strict=True)] for row in csv_rows] == verdicts
    assert [list(row.values()) for row in pq.read_table(output["parquet"]).to_pylist()] == verdicts
    table = run_changeling("detect", pictures, "--model", model).stdout
    assert all(text in table for text in ("0.png", "broken.jpg", "probability"))


def test_the_suffix_of_the_output_sets_the_format(model: Path, pictures: Path) -> None:
    for suffix in ("csv", "json"):
        output = pictures / f"verdicts.{suffix}"
        assert run_changeling("detect", pictures / "0.png", "--model", model, "--output", output).returncode == 0
    assert (pictures / "verdicts.csv").read_text().splitlines()[0] == ",".join(FIELDS)
    (verdict,) = json.loads((pictures / "verdicts.json").read_text())
    assert tuple(verdict) == FIELDS


def test_detect_continues_where_it_was_interrupted(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_parts, "verdict_parts", partial(verdict_parts.verdict_parts, part_size=2))
    monkeypatch.setattr(detection, "PART_SIZE", 2)
    command = ("detect", pictures, "--model", model, "--format", "csv", "--output")
    assert run_changeling(*command, tmp_path / "complete").returncode == 0
    assert not (tmp_path / "complete.parts").exists()
    write_part = Detection.write_part

    def interrupt(self: Detection, parts: VerdictParts, index: int, *arguments: Any) -> None:
        if index == 1:
            raise KeyboardInterrupt
        write_part(self, parts, index, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Detection, "write_part", interrupt)
        assert run_changeling(*command, tmp_path / "resumed").returncode == 130
    assert not (tmp_path / "resumed").exists()
    assert [path.name for path in (tmp_path / "resumed.parts").iterdir()] == ["part-00000.jsonl"]
    loaded: list[Any] = []
    load_detector = Detector.load

    def load(*arguments: Any, **options: Any) -> Detector:
        loaded.append(options["runtime"])
        return load_detector(*arguments, **options)

    monkeypatch.setattr(Detector, "load", load)
    ran = run_changeling(*command, tmp_path / "resumed")
    assert loaded == [Runtime.EXACT]  # that of the parts, not what is chosen since
    assert "; runtime exact\n" in ran.stderr
    assert f"{tmp_path / 'resumed'}.parts: 2 of 5 images are done, continuing with the others\n" in ran.stderr
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "complete").read_bytes()
    assert not (tmp_path / "resumed.parts").exists()


def test_an_unknown_suffix_of_the_output_is_an_error_before_any_work(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "verdicts.txt"
    ran = run_changeling("detect", pictures, "--model", tmp_path / "none", "--output", output)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"changeling: --output {output}: unknown suffix '.txt'; use .json, .jsonl, .csv or .parquet, or choose "
        "--format\n"
    )
    assert not output.exists()


def test_the_exit_code_is_1_where_no_image_can_be_read(model: Path, pictures: Path) -> None:
    (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    paths = (pictures / "phone.heic", pictures / "gone.png")
    ran = run_changeling("detect", *paths, "--model", model, "--format", "jsonl")
    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == ["unsupported", "missing"]
    assert ran.returncode == 1


def test_detect_reads_a_list_of_paths_from_standard_input(model: Path, pictures: Path) -> None:
    paths = f"{pictures}/3.png\n{pictures}/gone.png\n{pictures}/0.png\n".encode()
    ran = run_changeling("detect", "-", "--model", model, "--format", "jsonl", stdin=paths)
    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == ["missing", "missing", "ok"]


def test_a_text_encoder_encodes_captions_once(tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        name, weights = "minilm-l6", "w"

        def encode_text(self, captions: Sequence[str]) -> np.ndarray:
            return np.array([[len(caption), 1] for caption in captions], np.float32)

    monkeypatch.setattr("changeling.workflows.features.load_text_encoder", lambda *_: Lengths())
    for _ in range(2):
        extracted = run_changeling("extract", tiny_dataset.path, "--backbone", "minilm-l6")
        assert extracted.stderr.endswith("minilm-l6: 36 captions are encoded\n")
    assert contents(tiny_dataset.path / "features").keys() == {"minilm-l6/captions-00000.safetensors"}


def test_a_study_goes_on_without_a_text_encoder(
    tiny_dataset: Dataset, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise WeightsError("cannot fetch it")

    monkeypatch.setattr("changeling.workflows.features.load_text_encoder", fail)
    monkeypatch.setattr("changeling.workflows.studies.find_missing_text_encoder", lambda *_: "minilm-l6")
    study = tmp_path / "study.toml"
    settings = (f'dataset = "{tiny_dataset.path.name}"', f'backbones = ["onnx:{tiny_onnx}"]')
    study.write_text("\n".join([*settings, 'experiments = ["distances"]']))
    ran = run_changeling("study", study)
    assert "retrieval is limited to backbones with a text tower: cannot fetch it\n" in ran.stderr
    assert (ran.returncode, "Table 1: " in ran.stdout) == (0, True)


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
    incomplete = run_changeling("import", "folder", tmp_path / "gone.csv", "--output", tmp_path / "incomplete")
    assert "1 file cannot be read (nope.png): see `status` in images.parquet" in incomplete.stderr
    imported = run_changeling("import", "folder", tmp_path / "list.csv", "--output", dataset)
    assert "72 images (48 fake) in 24 clusters" in imported.stderr
    assert "72 images encoded, 0 were done already" in run_changeling("extract", dataset, "--backbone", backbone).stderr
    assert "0 images encoded, 72 were done already" in run_changeling("extract", dataset, "--backbone", backbone).stderr
    studied = run_changeling("study", dataset)
    assert studied.returncode == 0
    assert "Table 1: " in studied.stdout
    assert (dataset / "report" / "index.html").stat().st_size > 10_000
    written = sorted(path.stem for path in (dataset / "results").iterdir())
    assert written == sorted(EXPERIMENTS)
    assert "Not run: " in studied.stdout  # there are no captions
    assert len(list((dataset / "heads").glob("*.safetensors"))) == 2
    assert (dataset / "tables.csv").read_text().startswith("experiment,")
    assert "\\toprule" in (dataset / "latex" / "distances.tex").read_text()
    again = run_changeling("report", dataset / "results", "--output", tmp_path / "again.html")
    assert again.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (dataset / "report" / "index.html").read_bytes()
    trained = run_changeling("train", dataset, "--backbone", backbone, "--output", tmp_path / "detector")
    assert trained.returncode == 0
    assert "held-out AUROC" in trained.stdout
    ran = run_changeling("detect", tmp_path / "0-0.png", "--model", tmp_path / "detector", "--format", "jsonl")
    assert json.loads(ran.stdout)["model"] == "detector"


def test_extract_refuses_to_mix_features_of_different_weights(tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "tiny")
    backbone = tmp_path / "backbone.onnx"
    backbone.write_bytes(tiny_onnx.read_bytes())
    assert run_changeling("extract", dataset.path, "--backbone", f"onnx:{backbone}").returncode == 0
    helpers.tiny_onnx(backbone, seed=1)
    ran = run_changeling("extract", dataset.path, "--backbone", f"onnx:{backbone}")
    assert ran.returncode == 2
    assert "was made with other weights" in ran.stderr


def test_a_study_runs_from_its_file_and_replaces_the_results_of_an_earlier_one(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_curve, "MAX_EPOCHS", 20)
    dataset = helpers.tiny_dataset(tmp_path / "tiny", clusters=24)
    written = run_changeling("init", tmp_path / "study.toml")
    assert written.returncode == 0
    text = (tmp_path / "study.toml").read_text()
    text = text.replace('"bundled:reconstructions"', '"tiny"', 1).replace(
        "backbones = []", f'backbones = ["onnx:{tiny_onnx}@proj"]'
    )
    text = text.replace("epochs = 25", "epochs = 2").replace("min_steps = 500", "min_steps = 2")
    text = text.replace('output = "study"', 'output = "deep/study"')
    (tmp_path / "study.toml").write_text(text)
    planned = run_changeling("study", tmp_path / "study.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"{len(dataset)} of {len(dataset)} images" in planned.stdout
    assert not (tmp_path / "deep").exists()
    assert not (dataset.path / "features").exists()
    studied = run_changeling("study", tmp_path / "study.toml")
    assert studied.returncode == 0, studied.stderr
    assert f"{len(dataset)} images encoded" in studied.stderr
    output = tmp_path / "deep" / "study"
    assert (output / "report" / "index.html").exists()
    first = {path.name: path.read_bytes() for path in (output / "results").iterdir()}
    shutil.rmtree(output / "finished")
    again = run_changeling("study", tmp_path / "study.toml")
    assert "0 images encoded" in again.stderr
    assert {path.name: path.read_bytes() for path in (output / "results").iterdir()} == first  # bit for bit
    (output / "latex" / "mine.tex").write_text("somebody else's")
    (tmp_path / "study.toml").write_text(re.sub("(?m)^experiments = .*", 'experiments = ["distances"]', text))
    assert run_changeling("study", tmp_path / "study.toml").returncode == 0
    assert [path.name for path in (output / "results").iterdir()] == ["distances.json"]  # nothing of the first study
    assert sorted(path.name for path in (output / "latex").iterdir()) == ["distances.tex", "mine.tex"]
    assert "Table 2" not in (output / "report" / "index.html").read_text()
    shown = run_changeling("report", output, "--output", tmp_path / "new" / "page.html")
    assert shown.returncode == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == (output / "report" / "index.html").read_bytes()


def test_a_study_that_fails_leaves_a_report_of_the_results_before_the_failure(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('experiments = ["distances", "retrieval"]\nbackbones = ["dinov2-vit-s14"]')
    assert run_changeling("study", study).returncode == 0
    study.write_text('experiments = ["distances", "disentangle"]\n[disentangle]\nlr = 1e9\nepochs = 2')
    failed = run_changeling("study", study)
    assert failed.returncode == 2
    assert "training diverges with disentangle.lr = 1e+09" in failed.stderr
    output = tmp_path / "study"
    assert [path.name for path in (output / "results").iterdir()] == ["distances.json"]
    assert [path.name for path in (output / "latex").iterdir()] == ["distances.tex"]
    assert "clip-vit-b16" in (output / "tables.csv").read_text()
    page = (output / "report" / "index.html").read_text()
    assert "Table 1" in page
    assert "Table 3" not in page  # of the earlier study
    assert "clip-vit-b16" in page


def test_a_study_that_fails_before_its_first_result_leaves_the_earlier_report(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('experiments = ["distances"]')
    assert run_changeling("study", study).returncode == 0
    files = [path for path in (tmp_path / "study").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    study.write_text('experiments = ["disentangle"]\n[disentangle]\nlr = 1e9\nepochs = 2')
    assert run_changeling("study", study).returncode == 2
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("clip-vit-b61", "unknown backbone 'clip-vit-b61'"),
        ("clip-vit-b16@pre", "not by clip-vit-b16@pre, and their image files are not part of the package"),
    ],
)
def test_extracting_the_bundled_clusters_is_refused(backbone: str, message: str, tmp_path: Path) -> None:
    before = sorted(BUNDLED["bundled:true-clusters"].rglob("*"))
    (tmp_path / "study.toml").write_text(f'backbones = ["clip-vit-b16", "{backbone}"]')
    for options in ([], ["--dry-run"]):
        ran = run_changeling("study", tmp_path / "study.toml", *options)
        assert ran.returncode == 2
        assert message in ran.stderr
    assert sorted(BUNDLED["bundled:true-clusters"].rglob("*")) == before
    assert not (tmp_path / "study").exists()


def test_extract_fails_where_no_image_can_be_read(tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "tiny")
    for path in dataset.column("path"):
        dataset.resolve_path(path).unlink()
    ran = run_changeling("extract", dataset.path, "--backbone", f"onnx:{tiny_onnx}")
    assert ran.returncode == 2
    assert "not one image can be read (42 missing)" in ran.stderr
    assert "encoded" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "EMPTY"], "no images: "),
        (["detect", "no*match.jpg"], r"no images: no*match.jpg"),
        (["detect", "-"], "no images: standard input is empty"),
        (["detect", "x.jpg", "--model", "EMPTY"], "is not a detector: it needs model.json and head.safetensors"),
        (["detect", "x.jpg", "--format", "parquet", "--model", "MODEL"], "name a file with --output"),
        (["extract", "EMPTY", "--backbone", "clip-vit-b16"], "is not a dataset: it has no images.parquet"),
        (["extract", "DATASET", "--backbone", "clip"], "unknown backbone 'clip'; choose one of clip-vit-b16, dinov2"),
        (["extract", "DATASET", "--backbone", "onnx:none.onnx"], "none.onnx: no such ONNX file"),
        (["extract", "DATASET", "--backbone", "BACKBONE@blokcs"], "has no layer @blokcs; it has @proj"),
        (["study", "DATASET"], "has no features yet; run `changeling extract"),
        (["report", "EMPTY"], "no results"),
        (["train", "DATASET", "--output", "MODEL"], "is a detector already; choose another --output or remove it"),
        (["detect", "x.jpg", "--ray", "local"], "--ray needs a file for the verdicts, which all machines see: add"),
        (["detect", "x.jpg", "--evidence", "--format", "csv"], "--evidence cannot be written as csv"),
        (["inspect", "x.jpg", "--no-score", "--model", "MODEL"], "--model and --no-score exclude each other"),
        (["inspect", "x.jpg", "--no-score", "--trust-list", "none.pem"], "trust list none.pem: No such file"),
        (["detect", "x.jpg", "--model", "MODEL", "--output", "."], "--output '.' is not a file to write"),
        (["import", "folder", "none.csv", "--output", "out"], "none.csv: no such folder or CSV file"),
        (["import", "folder", "EMPTY", "--output", "out"], "no images below real/ or fake/"),
        (["import", "folder", "BYTES", "--output", "out"], "the name is not UTF-8, which tables need; rename the file"),
        (["import", "folder", "SHORT", "--output", "out"], "short.csv:2: file is empty"),
        (["extract", "DATASET", "--backbone", "STRANGE"], "its metadata holds an invalid preprocessing"),
        (["study", "STUDYFILE"], "study.toml: there is no setting 'sed'; did you mean 'seed'?"),
        (
            ["study", "EMPTY"],
            "is a folder, but not a dataset: it has no images.parquet; name a study file or a dataset",
        ),
        (["import", "coco", "EMPTY", "EMPTY", "--output", "out"], "is a folder; pass captions_*.json or Karpathy's"),
        (["study", "EMPTY/none.toml"], "none.toml: no such study file; `changeling init` writes one"),
        (["init", "STUDYFILE"], "study.toml already exists"),
        (["import", "cocofake", "k.json", "EMPTY", "--fakes", "EMPTY", "--output", "out"], "write GENERATOR=DIR"),
        (["import", "huggingface", "EMPTY", "--output", "out"], "empty"),
        (["import", "coco", "none.json", "EMPTY", "--output", "out"], "none.json cannot be read: No such file"),
        (["import", "folder", "EMPTY", "--output", "SHORT"], "short.csv is a file where a folder is to be written"),
        (
            ["detect", "x.jpg", "--model", "MODEL", "--format", "xml"],
            "--format xml: there is no such format; use table",
        ),
        (["audit", "DATASET", "--output", "EMPTY"], "empty is a folder; choose a file to write"),
        (["train", "DATASET", "--output", "SHORT"], "short.csv is a file where a folder is to be written"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_exit_code_2(
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
    ran = run_changeling(*filled)
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.startswith("changeling: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_study_whose_output_is_a_file_is_an_error_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('output = "notes.txt/study"\nbackbones = ["clip-vit-b16"]')
    (tmp_path / "notes.txt").write_text("of somebody")
    for options in ([], ["--dry-run"]):
        ran = run_changeling("study", tmp_path / "study.toml", *options)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == (
            f"changeling: {tmp_path}/notes.txt is a file where a folder is to be written; choose another output\n"
        )


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (("import", "folders", "x", "--output", "y"), "No such command 'folders'. Did you mean 'folder'?"),
        (("import", "feature", "x"), "No such command 'feature'. Did you mean 'features'?"),
        (("export", "webdatset", "x", "--output", "y"), "No such command 'webdatset'. Did you mean 'webdataset'?"),
    ],
)
def test_a_misspelt_format_is_an_error_with_a_suggestion(arguments: tuple[str, ...], suggestion: str) -> None:
    ran = run_changeling(*arguments)
    assert ran.returncode == 2
    assert suggestion in ran.stderr


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_prints_one_line_and_keeps_finished_parts_only(
    number: signal.Signals, exit_code: int, model: Path, pictures: Path, tmp_path: Path
) -> None:
    path_list = tmp_path / "many.txt"
    path_list.write_text(f"{pictures}/0.png\n" * 200_000)
    command = [sys.executable, "-m", "changeling", "detect", "-", "--model", str(model), "--format", "jsonl"]
    output = tmp_path / "verdicts.jsonl"
    with path_list.open("rb") as stdin:
        process = subprocess.Popen(
            [*command, "--output", str(output)],
            stdin=stdin,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        while not list(tmp_path.glob("verdicts.jsonl.parts/part-*")) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert errors == "changeling: stopped\n"
    assert not output.exists()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith((".", "part"))]
    assert left
    assert all(name.startswith("part-") for name in left)


def test_the_installed_program_prints_its_version() -> None:
    program = shutil.which("changeling", path=str(Path(sys.executable).parent))
    assert program is not None
    ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"changeling {__version__}\n"


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    assert run_process("--help").returncode == 0
    failed = run_process("study", tmp_path / "none.toml", COLUMNS="250")
    assert failed.returncode == 2
    assert failed.stderr.startswith("changeling: ")
    assert failed.stderr.count("\n") == 1


def test_a_name_that_the_terminal_cannot_show_is_printed_as_its_code(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "\u732b.png"
    ran = run_process("detect", path, "--model", model, PYTHONIOENCODING="latin-1", COLUMNS="250")
    assert ran.returncode == 1
    assert "\\u732b.png" in ran.stdout


def test_the_detector_starts_without_heavy_libraries() -> None:
    script = "import sys, changeling.detect.detector, changeling.cli; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "onnx",
        "sklearn",
        "scipy",
        "matplotlib",
        "pyarrow",
        "changeling.experiments",
        "changeling.report",
    }
    assert not heavy & set(ran.stdout.split())


def test_a_decompression_bomb_is_an_oversized_image_and_not_a_warning(model: Path, tmp_path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "large.png")
    ran = run_process("detect", tmp_path / "large.png", "--model", model, "--format", "jsonl")
    assert json.loads(ran.stdout)["status"] == "oversized"
    (summary,) = ran.stderr.splitlines()
    assert summary.startswith("1 image: 0 real, 0 fake, 0 unsure, 1 unreadable (1 oversized)")
