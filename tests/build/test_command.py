"""`changeling build`, as a user runs it."""

from __future__ import annotations

import json
import re
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from PIL import Image

from changeling.build import parts
from changeling.datasets.dataset import Dataset
from tests import helpers
from tests.build.builds import CAPTIONS
from tests.build.processes import CommandLine, wait_for
from tests.helpers import run_changeling

SETTINGS = "steps = 1\nsize = 64\n"
TABLES = f"[generators.sd]\nmodel = 'models/sd'\n{SETTINGS}[generators.strict]\nmodel = 'models/strict'\nredraws = 0\n"


@pytest.fixture(scope="module")
def shared(models: Path, tmp_path_factory: pytest.TempPathFactory, server: ForkServerContext) -> Path:
    """A folder with models/, and with coco/, which was imported from photographs and captions as COCO has them."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "models").symlink_to(models)
    (folder / "photographs").mkdir()
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number in range(1, 7):
        name = f"{number:012d}.jpg"
        helpers.natural(number, 48).save(folder / "photographs" / name, quality=70 + number)
        content["images"].append({"id": number, "file_name": name})
        content["annotations"] += [
            {"id": 10 * number + index, "image_id": number, "caption": f"scene {number}, said {index}"}
            for index in range(CAPTIONS)
        ]
    (folder / "captions.json").write_text(json.dumps(content))
    command = ("import", "coco", folder / "captions.json", folder / "photographs", "--output", folder / "coco")
    imported = CommandLine(server, folder)(*command)
    assert (imported.code, imported.out) == (0, "")
    assert "6 images (0 fake) in 6 clusters, 18 captions" in imported.err
    return folder


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    """A folder where both are."""
    for name in ("models", "coco"):
        (tmp_path / name).symlink_to(shared / name)
    return tmp_path


def write_study(folder: Path, tables: str = f"{TABLES}{SETTINGS}", more: str = "", build: str = "") -> Path:
    path = folder / "study.toml"
    path.write_text(f"dataset = 'fakes'\n{more}[build]\nparents = 'coco'\n{build}{tables}")
    return path


def test_from_photographs_to_a_report(folder: Path, changeling: CommandLine, tiny_onnx: Path) -> None:
    more = f"backbones = ['onnx:{tiny_onnx}']\nexperiments = ['distances']\n"
    study = write_study(folder, more=more)
    changeling.part_size = parts.PART_SIZE  # as a user runs it
    built = changeling("build", "run", study)
    assert (built.code, built.out) == (0, ""), built.err
    assert built.err.splitlines()[-1] == (
        f"{folder}/fakes: 24 images, and without a file 18 children flagged; look at {folder}/fakes/build/index.html"
    )
    assert "sd: 0 of 18" in built.err.splitlines()  # a log says that the model is being loaded
    dataset = Dataset(folder / "fakes")
    assert [row["generator"] for row in dataset.images.to_pylist()] == [None] * 6 + ["sd"] * 18 + ["strict"] * 18
    assert dataset.captions.num_rows == 18
    status = changeling("build", "status", study)
    assert status.code == 0
    assert "strict" in status.out
    assert "42 of 42 images are done; the dataset is written" in status.out
    before = helpers.contents(folder / "fakes")
    child = next(row for row in dataset.images.to_pylist() if row["generator"] == "sd")
    (folder / "fakes" / child["path"]).unlink()
    redrawn = changeling("build", "redraw", study, child["image_id"])
    assert (redrawn.code, redrawn.out) == (0, f"{folder}/fakes/{child['path']}: restored\n")
    assert helpers.contents(folder / "fakes") == before
    extracted = changeling("extract", folder / "fakes", "--backbone", f"onnx:{tiny_onnx}")
    assert extracted.code == 0, extracted.err
    studied = changeling("study", study)
    assert studied.code == 0, studied.err
    assert "Table 1" in studied.out
    assert (folder / "study" / "report" / "index.html").stat().st_size > 10_000


def test_shards_of_a_build_report_when_others_are_not_finished(folder: Path, changeling: CommandLine) -> None:
    study = write_study(folder, f"[generators.sd]\nmodel = 'models/sd'\n{SETTINGS}", build="clusters = 4\n")
    first = changeling("build", "run", study, "--shard", "1/2")
    assert first.code == 0
    assert f"{folder}/fakes: this shard is finished, others are not; look at " in first.err
    assert not (folder / "fakes" / "images.parquet").exists()
    status = changeling("build", "status", study)
    assert "the dataset is not written yet; the last part was written" in " ".join(status.out.split())
    second = changeling("build", study, "--shard", "0/2")
    assert second.code == 0
    assert f"{folder}/fakes: 16 images; look at " in second.err
    assert len(Dataset(folder / "fakes")) == 4 * (1 + CAPTIONS)


def test_after_sigterm_a_build_resumes(folder: Path, changeling: CommandLine) -> None:
    study = write_study(folder, "[generators.sd]\nmodel = 'models/sd'\nsteps = 6\nsize = 64\n", build="clusters = 4\n")
    process = changeling.start("build", study)
    wait_for((folder / "fakes" / "build" / "sd" / "part-00000.parquet").exists)
    process.terminate()
    ended = changeling.ended(process)
    assert (ended.code, ended.out) == (143, "")
    assert ended.err.endswith("finished parts are saved; run the same command again to resume\nchangeling: stopped\n")
    assert not (folder / "fakes" / "images.parquet").exists()
    assert not list((folder / "fakes").rglob("*.tmp"))
    done = {path: path.read_bytes() for path in (folder / "fakes").rglob("part-*")}
    assert (folder / "fakes" / "build" / "sd" / "part-00002.parquet") not in done
    again = changeling("build", study)
    assert again.code == 0, again.err
    assert len(Dataset(folder / "fakes")) == 4 * (1 + CAPTIONS)
    assert {path: path.read_bytes() for path in done} == done
    for path in Dataset(folder / "fakes").column("path"):
        with Image.open(folder / "fakes" / path) as image:
            image.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the study file does not say what to build; set dataset to the folder to make, such as 'cocofake'"),
        ("dataset = 'fakes'", "set parents in [build] to a dataset with captions, such as 'coco'"),
        (
            "dataset = 'fakes'\n[build]\nparents = 'coco'",
            'add a generator, such as the table [generators."stable-diffusion-v1.4"]',
        ),
        (
            f"dataset = 'coco'\n[build]\nparents = './coco/'\n{TABLES}",
            "dataset and [build] parents are the same folder",
        ),
        (f"dataset = 'fakes'\n[build]\nparents = 'none'\n{TABLES}", "none does not exist; `changeling import`"),
        (f"dataset = 'fakes'\n[build]\nparents = 'mute'\n{TABLES}", "mute has no parents with captions"),
        (
            "dataset = 'fakes'\n[build]\nparents = 'coco'\n[generators.'stable-difusion-v1.4']",
            "[generators.stable-difusion-v1.4] is not a preset and has no model; did you mean 'stable-diffusion-v1.4'?",
        ),
        (
            "dataset = 'fakes'\n[build]\nparents = 'coco'\n[generators.mine]\nsteps = 3",
            "[generators.mine] is not a preset and has no model; presets are stable-diffusion-v1.4, ",
        ),
        (
            f"dataset = 'fakes'\n[build]\nparents = 'coco'\n{TABLES}step = 5",
            "[generators.strict] has no setting 'step'; did you mean 'steps'?",
        ),
        (
            f"dataset = 'fakes'\n[build]\nparents = 'coco'\nencodings = 'off'\n{TABLES}",
            "[build] has no setting 'encodings'; did you mean 'encoding'?",
        ),
        (
            f"dataset = 'fakes'\n[build]\nparents = 'coco'\nencoding = 'match'\n{TABLES}",
            "build.encoding = 'match': input should be 'matched', 'fixed' or 'off'; did you mean 'matched'?",
        ),
        (
            f"dataset = 'fakes'\n[build]\nparents = 'coco'\n{TABLES}precision = 'float61'",
            "generators.strict.precision = 'float61': input should be 'auto', 'float32', 'float16' or 'bfloat16'",
        ),
        (
            f"dataset = 'fakes'\n[build]\nparents = 'coco'\n{TABLES}size = 100",
            "generators.strict.size = 100: input should be a multiple of 8",
        ),
        (
            "dataset = 'fakes'\n[build]\nparents = 'coco'\n[generators.x]\nmodel = ''",
            "generators.x.model = '': string should have at least 1 character",
        ),
        (
            "dataset = 'fakes'\n[build]\nparents = 'coco'\n[generators.x]\nmodel = 'models/sd/none'",
            "models/sd/none: no such folder, and",
        ),
    ],
)
def test_an_error_in_the_study_file_is_one_line_and_exit_code_2(
    text: str, message: str, folder: Path, changeling: CommandLine
) -> None:
    helpers.tiny_dataset(folder / "mute", clusters=2)
    (folder / "mute" / "captions.parquet").unlink()
    (folder / "study.toml").write_text(text)
    ran = changeling("build", folder / "study.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("changeling: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not (folder / "fakes" / "images.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "STUDY", "--shard", "2/2"), "--shard 2/2: write I/N with I from 0 to N-1, such as 0/4"),
        (("STUDY", "--shard", "0/2", "--ray", "local"), "--shard and --ray cannot be combined: with --ray one command"),
        (
            ("redraw", "STUDY", "sd/nobody/0"),
            "there is no image 'sd/nobody/0'; ids are in images.parquet, such as",
        ),
        (("redraw", "STUDY", "FIRST"), "is not made yet; `changeling build run` makes it"),
        (("none.toml",), "none.toml: no such study file; `changeling init` writes one"),
        (("status", "none.toml"), "none.toml: no such study file; `changeling init` writes one"),
    ],
)
def test_an_error_in_the_arguments_is_one_line(
    arguments: tuple[str, ...], message: str, folder: Path, changeling: CommandLine
) -> None:
    first: str = Dataset(folder / "coco").images.to_pylist()[0]["image_id"]
    names: dict[str, str | Path] = {"STUDY": write_study(folder), "FIRST": f"sd/{first}/0"}
    ran = changeling("build", *(names.get(argument, argument) for argument in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "status", "redraw"])
def test_each_command_of_a_build_has_help(command: str) -> None:
    ran = run_changeling("build", command, "--help")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"Usage: changeling build {command} [OPTIONS] ")


def test_the_help_of_build_lists_its_commands() -> None:
    ran = run_changeling("build", "--help")
    assert re.findall(r"^  (run|status|redraw) +", ran.stdout, re.MULTILINE) == ["run", "status", "redraw"]


def test_a_misspelt_command_is_not_taken_for_a_study_file(tmp_path: Path) -> None:
    ran = run_changeling("build", "stauts", str(tmp_path / "study.toml"))
    assert ran.returncode == 2
    assert "No such command 'stauts'. Did you mean 'status'?" in ran.stderr


@pytest.mark.parametrize("arguments", [(), ("run",), ("--shard", "0/1")], ids=str)
def test_without_a_study_file_study_toml_is_built(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("")
    ran = run_changeling("build", *arguments)
    assert ran.returncode == 2
    assert "set dataset to the folder to make" in ran.stderr
