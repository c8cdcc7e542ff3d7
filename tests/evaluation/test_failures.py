"""What is wrong with a detector ends in one clear line; what was scored before stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

import changeling
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, EvaluatedImage, Score
from changeling.evaluation.conditions import CLEAN, CONDITIONS, WEB, change_file
from changeling.evaluation.detectors.http_service import read_pause
from changeling.evaluation.registry import parse_specs
from changeling.evaluation.score_parts import ScoreHeader
from changeling.evaluation.scoring import ScoringJob, read_scores, score_images
from changeling.images.decode import ImageFile, decode_image, read_file
from changeling.parts import METADATA_KEY
from tests import helpers


@pytest.fixture(scope="module")
def images(dataset: Dataset) -> list[EvaluatedImage]:
    paths, ids = dataset.column("path"), dataset.column("image_id")
    return [EvaluatedImage(ids[i], paths[i], read_file(dataset.resolve_path(paths[i]))) for i in range(3)]


def score(spec: str, images: list[EvaluatedImage], timeout: float = 60) -> list[Score]:
    return list(parse_specs([spec])[0].load(DetectorSettings(timeout)).score(images))


# programs and functions


def start_program(code: str, tmp_path: Path) -> str:
    (tmp_path / "program.py").write_text(f"import json, sys\npaths = sys.stdin.read().splitlines()\n{code}\n")
    return f"command:{sys.executable} -S {tmp_path / 'program.py'}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print(json.dumps({'path': paths[0], 'score': 1}))", "the program wrote 1 scores for 3 images; none for "),
        ("for path in paths: print(json.dumps({'path': path, 'score': float('nan')}))", "nan, not a finite number"),
        ("for path in paths: print(json.dumps({'path': path, 'score': '1'}))", "'1', not a finite number"),
        ("for path in paths: print(json.dumps({'path': path}))", "has no score"),
        ("for path in paths: print(json.dumps({'path': path, 'score': 1, 'label': 'maybe'}))", "'maybe', not one of"),
        ("for path in paths: print(json.dumps({'score': 1}))", "a score for None, which is not one of the paths"),
        ("for path in paths * 2: print(json.dumps({'path': path, 'score': 1}))", "two scores for "),
        ("print('loading ...')", "'loading ...', not a JSON object"),
        ("raise ValueError('no GPU')", "the program failed with exit code 1: ValueError: no GPU"),
    ],
)
def test_a_wrong_program_ends_in_one_line(
    code: str, message: str, tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    with pytest.raises(DetectorError) as error:
        score(start_program(code, tmp_path), images)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    code = (
        "import os, subprocess, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(DetectorError, match=r"the program gave no answer within the timeout of 10 s"):
        score(start_program(code, tmp_path), images, timeout=10)
    wait_for_end(int((tmp_path / "pid").read_text()))


def test_a_program_that_ends_before_its_children_leaves_none_behind(
    tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    code = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "for path in paths: print(json.dumps({'path': path, 'score': 1}))"
    )
    assert score(start_program(code, tmp_path), images) == [Score(1.0, is_probability=False)] * 3
    wait_for_end(int((tmp_path / "pid").read_text()))


def test_a_child_that_left_its_group_and_holds_the_output_open_hangs_nothing(
    tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    code = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    )
    try:
        with pytest.raises(DetectorError, match="gave no answer within the timeout of 10 s"):
            score(start_program(code, tmp_path), images, timeout=10)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def wait_for_end(pid: int) -> None:
    for _ in range(600):
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the child of the program still runs")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_may_answer_in_any_order_with_labels_and_errors(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    code = (
        "print(json.dumps({'path': paths[2], 'error': 'too dark'}))\n"
        "print(json.dumps({'path': paths[1], 'score': 0.5, 'label': 'unsure'}))\n\n"
        "print(json.dumps({'path': paths[0], 'probability': 1}))"
    )
    assert score(start_program(code, tmp_path), images) == [
        Score(1.0, is_probability=True),
        Score(0.5, "unsure", is_probability=False),
        Score(None, error="too dark"),
    ]


def test_a_line_may_contain_a_line_separator(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    code = (
        "for path in paths:\n"
        "    print(json.dumps({'path': path, 'score': 1, 'note': '\\u2028'}, ensure_ascii=False).encode().decode())"
    )
    assert (
        score("command:env PYTHONUTF8=1 " + start_program(code, tmp_path).removeprefix("command:"), images)
        == [Score(1.0, is_probability=False)] * 3
    )


def test_a_path_with_a_line_break_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text("def score(paths): return [1.0] * len(paths)")
    image = EvaluatedImage("a", "a\nb.png", ImageFile("a\nb.png", b""))
    for spec in ("python:theirs:score", start_program("", tmp_path)):
        with pytest.raises(DetectorError, match="a path contains a line break"):
            score(spec, [image])


def test_a_file_that_two_rows_share_is_scored_once(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    code = "assert len(paths) == 2\nfor path in paths: print(json.dumps({'path': path, 'score': len(path)}))"
    scores = score(start_program(code, tmp_path), [*images[:2], images[0]])
    assert scores[0] == scores[2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [0.5]", "the function returned 1 scores for 3 images"),
        ("return [float('nan')] * len(paths)", "nan, not a finite number"),
        ("import time; time.sleep(600)", "gave no answer within the timeout of 2 s"),
    ],
)
def test_a_wrong_function_ends_in_one_line(
    body: str, message: str, tmp_path: Path, images: list[EvaluatedImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(f"def score(paths):\n    print('noise')\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DetectorError, match=message):
        score("python:theirs:score", images, timeout=2 if "sleep" in body else 60)


def test_a_function_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec, message in (("python:nothing:f", "there is no such module"), ("python:json", "python:MODULE:FUNCTION")):
        with pytest.raises(DetectorError, match=message):
            parse_specs([spec])[0].load(DetectorSettings())


# services


def test_a_service_scores_the_bytes_of_each_file(server: str, images: list[EvaluatedImage]) -> None:
    for kind in ("length", "busy"):
        scores = np.array([each.value for each in score(f"{server}/{kind}", images)])
        sizes = np.array([len(image.file.data) for image in images])
        np.testing.assert_array_equal(scores - sizes, (scores - sizes)[0])  # the rest of the form
    assert score(f"{server}/list", images) == [Score(0.9, "fake", is_probability=True)] * 3
    first = replace(images[0], file=ImageFile("first.png", b"first"))
    found = [each.value for each in score(f"{server}/picky", [first, *images[1:]])]
    assert [value is None for value in found] == [True, False, False]


@pytest.mark.parametrize(("text", "pause"), [("0.5", 0.5), ("0", 0.01), ("nan", 1), ("inf", 1), ("soon", 1), ("", 1)])
def test_a_pause_that_is_no_number_of_seconds_is_one_second(text: str, pause: float) -> None:
    assert read_pause(httpx.Response(429, headers={"Retry-After": text})) == pause


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("error", "answered 500"),
        ("html", "'<html>', not a JSON object with a score"),
        ("empty", "has no score"),
        ("unreadable", "/unreadable refused all of 3 images; the first: 422: "),
        ("hang", r"gave no answer within the timeout of 0.5 s"),
        ("slow", "gave no answer within the timeout of 0.5 s"),
    ],
)
def test_a_wrong_service_ends_in_one_line(server: str, kind: str, message: str, images: list[EvaluatedImage]) -> None:
    with pytest.raises(DetectorError, match=message):
        score(f"{server}/{kind}", images, timeout=0.5 if kind in ("hang", "slow") else 60)


def test_a_service_that_cannot_be_reached_ends_in_one_line(images: list[EvaluatedImage]) -> None:
    with pytest.raises(DetectorError, match=r"http://127.0.0.1:1/x cannot be reached: "):
        score("http://127.0.0.1:1/x", images)


# tables of scores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,score\na,1\n", "it needs the columns image_id or path, and probability or score; it has name, score"),
        ("image_id,score\nc00-0,high\n", "line 2: 'high' is not a finite score"),
        ("image_id,score\nc00-0,nan\n", "line 2: 'nan' is not a finite score"),
        ("image_id,score\nc00-0,1\nc00-0,2\n", "line 3: c00-0 has a score already"),
        ("image_id,score\nc00-0,1\n", "no score for image c00-1"),
        ("image_id,logit\nc00-0,1\n", "and probability or score; it has image_id, logit"),
    ],
)
def test_a_wrong_table_ends_in_one_line(text: str, message: str, tmp_path: Path, images: list[EvaluatedImage]) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(DetectorError, match=message):
        score(f"scores:{tmp_path / 'scores.csv'}", images)


def test_a_path_in_a_table_may_contain_a_line_separator(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("path,score\na\u2028b.png,2\n", encoding="utf-8")
    image = EvaluatedImage("a", "a\u2028b.png", ImageFile("a\u2028b.png", b""))
    assert score(f"scores:{tmp_path / 'scores.csv'}", [image]) == [Score(2.0, is_probability=False)]


@pytest.mark.parametrize(
    ("columns", "is_probability", "value"),
    [("score", False, 0.25), ("probability", True, 0.25), ("score,probability", True, 0.5)],
)
def test_the_column_of_a_table_says_whether_its_scores_are_probabilities(
    columns: str, is_probability: bool, value: float, tmp_path: Path, images: list[EvaluatedImage]
) -> None:
    lines = [f"image_id,{columns}", *(f"{image.image_id},0.25,0.5" for image in images)]
    (tmp_path / "scores.csv").write_text("\n".join(lines))
    assert score(f"scores:{tmp_path / 'scores.csv'}", images) == [Score(value, is_probability=is_probability)] * 3


def test_a_table_may_name_images_by_path(tmp_path: Path, images: list[EvaluatedImage]) -> None:
    rows = [f"{image.listed_path},{number}" for number, image in enumerate(images)]
    (tmp_path / "scores.csv").write_text("\n".join(["path,probability", *rows[::-1]]))
    assert [each.value for each in score(f"scores:{tmp_path / 'scores.csv'}", images)] == [0, 1, 2]


# parts


class Fixed:
    """A detector that counts the images that it scores, and fails after some."""

    identity, reads_files = "fixed", True

    def __init__(self, limit: int = 1000) -> None:
        self.scored, self._limit = 0, limit

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        if self.scored >= self._limit:
            raise DetectorError("out of memory")
        self.scored += len(images)
        return [Score(float(len(image.file.data))) for image in images]


def make_job(detector: Fixed, dataset: Dataset, folder: Path) -> ScoringJob:
    return ScoringJob("fixed", detector, dataset, np.arange(20), "all", CLEAN, folder, part_size=8)


def test_parts_that_were_scored_before_a_failure_are_not_scored_again(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DetectorError):
        score_images(make_job(Fixed(limit=16), dataset, tmp_path))
    second = Fixed()
    scores = score_images(make_job(second, dataset, tmp_path))
    assert second.scored == 4
    files = [dataset.resolve_path(path) for path in dataset.column("path")[:20]]
    assert scores.values.tolist() == [float(file.stat().st_size) for file in files]


class Wrong(Fixed):
    """A detector that gives other scores than it should."""

    def __init__(self, scores: list[Score]) -> None:
        super().__init__()
        self._scores = scores

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:  # noqa: ARG002
        return self._scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([Score(1.0)], "the detector gave 1 scores for 8 images"),
        ([Score(1.0)] * 7 + [Score(float("nan"))], "is nan, not a finite number"),
        ([Score(1.0)] * 7 + [Score(None)], "the detector gave no score for "),
        ([Score(1.0, is_probability=True)] * 7 + [Score(1.1, is_probability=True)], "is 1.1, not between 0 and 1"),
        ([Score(1.0, is_probability=True)] * 7 + [Score(1.0, is_probability=False)], "probabilities for some images"),
    ],
)
def test_wrong_scores_of_a_model_are_not_stored(
    scores: list[Score], message: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DetectorError, match=message):
        score_images(make_job(Wrong(scores), dataset, tmp_path))
    assert not list(tmp_path.rglob("part*"))


@pytest.mark.parametrize("is_probability", [True, False, None])
def test_what_a_detector_says_of_its_scores_is_stored(
    is_probability: bool | None, dataset: Dataset, tmp_path: Path
) -> None:
    job = ScoringJob(
        "fixed", Wrong([Score(0.5, is_probability=is_probability)] * 10), dataset, np.arange(20), "all", CLEAN,
        tmp_path, part_size=10,
    )  # fmt: skip
    assert score_images(job).are_probabilities is is_probability
    assert read_scores(job).are_probabilities is is_probability
    assert job.has_part(1)


def test_parts_of_probabilities_and_of_other_scores_are_removed(dataset: Dataset, tmp_path: Path) -> None:
    class Changing(Fixed):
        def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
            super().score(images)
            return [Score(0.5, is_probability=self.scored > 8)] * len(images)

    job = make_job(Changing(), dataset, tmp_path)
    with pytest.raises(DetectorError, match="probabilities for some images and scores of another kind for others"):
        score_images(job)
    assert score_images(job).are_probabilities


def test_parts_of_older_versions_that_do_not_say_what_they_are_are_scored_again(
    dataset: Dataset, tmp_path: Path
) -> None:
    job = make_job(Fixed(), dataset, tmp_path)
    score_images(job)
    header = job.parts.read_header(1)
    old = ScoreHeader.model_validate(header.model_dump(exclude={"are_probabilities"}))
    table = job.parts.read(1).replace_schema_metadata({METADATA_KEY: old.model_dump_json(exclude_unset=True)})
    pq.write_table(table, job.parts.path(1))
    assert [job.has_part(index) for index in job.parts.indices] == [True, False, True]
    score_images(job)
    assert job.has_part(1)


def test_parts_of_other_images_or_no_parts_at_all_are_scored_again(dataset: Dataset, tmp_path: Path) -> None:
    job = make_job(Fixed(), dataset, tmp_path)
    score_images(job)
    job.parts.path(0).write_bytes(b"not parquet")
    other = ScoringJob("fixed", Fixed(), dataset, np.arange(1, 21), "all", CLEAN, tmp_path, part_size=8)
    score_images(other)
    assert isinstance(other.detector, Fixed)
    assert other.detector.scored == 20


def test_an_image_that_cannot_be_read_has_an_error_and_stops_no_one(tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset", clusters=4)
    dataset.resolve_path(dataset.column("path")[1]).write_bytes(b"")
    job = ScoringJob("fixed", Fixed(), dataset, np.arange(5), "all", WEB, tmp_path)
    scores = score_images(job)
    assert np.isnan(scores.values).tolist() == [False, True, False, False, False]
    assert len(scores.errors) == 1


def test_images_of_files_that_were_missing_are_scored_when_these_are_back(tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset", clusters=6)
    paths = [dataset.resolve_path(path) for path in dataset.column("path")[:2]]
    contents = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(b"another file")
    scores = score_images(make_job(Fixed(), dataset, tmp_path))
    assert np.isnan(scores.values[:10]).tolist() == [True] * 2 + [False] * 8
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    detector = Fixed()
    scores = score_images(make_job(detector, dataset, tmp_path))
    assert not np.isnan(scores.values).any()
    assert detector.scored == 8  # the part with both files


def test_a_file_that_is_no_image_is_not_decoded_twice(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    helpers.natural(0).save(folder / "a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:200])
    row = ImageRow("a", "a", "parent", str(folder / "a.png"), "test", sha256=read_file(folder / "a.png").sha256)
    job = ScoringJob("fixed", Fixed(), write_dataset(tmp_path / "dataset", [row]), np.arange(1), "all", WEB, tmp_path)
    assert len(score_images(job).errors) == 1
    assert job.has_part(0)


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_a_condition_gives_the_same_pixels_each_time(name: str, images: list[EvaluatedImage]) -> None:
    changed = [[change_file(image.file, CONDITIONS[name], image.image_id, "x.png") for image in images] for _ in "12"]
    assert [file.data for file in changed[0]] == [file.data for file in changed[1]]
    is_clean = [file.data == image.file.data for file, image in zip(changed[0], images, strict=True)]
    assert set(is_clean) == {name == "clean"}
    assert all(decode_image(file).image.mode == "RGB" for file in changed[0])


KILLED = """
import sys, time
sys.path[:0] = sys.argv[4:]
from pathlib import Path
import numpy as np
from changeling.datasets.dataset import Dataset
from changeling.evaluation.base import Score
from changeling.evaluation.conditions import CLEAN
from changeling.evaluation.score_parts import ScoreHeader
from changeling.evaluation.scoring import ScoringJob, score_images

class Slow:
    identity, reads_files = "fixed", True
    def score(self, images):
        if Path(sys.argv[3]).exists():
            time.sleep(600)
        Path(sys.argv[3]).touch()
        return [Score(float(len(image.file.data))) for image in images]

score_images(ScoringJob("fixed", Slow(), Dataset(Path(sys.argv[1])), np.arange(20), "all", CLEAN, Path(sys.argv[2]), 8))
"""


def test_an_evaluation_that_was_killed_goes_on_where_it_stopped(dataset: Dataset, tmp_path: Path) -> None:
    source = str(Path(changeling.__file__).parents[1])
    arguments = [str(dataset.path), str(tmp_path / "out"), str(tmp_path / "started"), source]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    part = make_job(Fixed(), dataset, tmp_path / "out").parts.path(0)
    while not part.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = part.read_bytes()
    detector = Fixed()
    score_images(make_job(detector, dataset, tmp_path / "out"))
    assert detector.scored == 12
    assert part.read_bytes() == first
