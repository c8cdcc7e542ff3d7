"""Protocol files: what they may say, what follows from it, and that they make evaluations repeatable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import EvaluationError
from changeling.evaluation.conditions import CLEAN, WEB, build_conditions
from changeling.evaluation.evaluate import EvaluationJob, build_settings
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.predictions import ValidationThreshold
from changeling.evaluation.protocols.expected_dataset import (
    compare_datasets,
    describe_rows,
    list_differences,
    normalise_name,
    write_protocol,
)
from changeling.evaluation.protocols.protocol import ExpectedDataset, Protocol, list_preset_protocols, load_protocol
from changeling.evaluation.results.result import describe_protocol_evaluation
from changeling.evaluation.results.subsets import (
    MEAN_LABEL,
    SubsetSettings,
    build_subset_table,
    list_generators,
    select_subset,
)
from changeling.evaluation.results.worst_images import describe_worst_images
from changeling.evaluation.scoring import Scores, ScoringJob
from changeling.results.folder import load_results
from changeling.results.result import Row
from tests import helpers


def make_row(number: int, generator: str | None, source: str) -> ImageRow:
    role = "child" if generator else "parent"
    return ImageRow(f"i{number}", f"c{number}", role, f"{number}.png", "test", source, generator=generator)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Images of three generators: one has real images of its own, one those of another source, one has none."""
    kinds = [(None, "ADM"), ("ADM", "ADM"), (None, "laion"), ("ldm_200", "ldm_200"), ("dalle", "dalle")]
    rows = [make_row(number, *kinds[number % 5]) for number in range(60)]
    dataset = write_dataset(tmp_path_factory.mktemp("subsets") / "dataset", rows)
    values = np.where(dataset.column("source") == "dalle", 0.6, 0.4 + 0.2 * dataset.labels)
    scores = Scores(values + np.arange(60) / 1000, np.full(60, None, dtype=object), [], 0.0)
    return Evaluation(dataset, np.arange(60), [CLEAN], [DetectorScores("one", {"clean": scores})])


@pytest.mark.parametrize("name", list_preset_protocols())
def test_each_ready_protocol_is_valid_cites_its_source_and_says_what_is_not_reproduced(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert "https://arxiv.org/abs/" in protocol.source
    path = Path(__file__).parents[2] / "src/changeling/evaluation/protocols" / f"{name}.toml"
    assert "Not reproduced: " in path.read_text(encoding="utf-8")


def test_a_protocol_of_nothing_is_that_of_the_command_without_options(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    assert load_protocol(str(tmp_path / "mine.toml")) == Protocol(name="mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split = ", "is not TOML"),
        ('split = "dev"', "split = 'dev': input should be 'train', 'val', 'test' or 'all'"),
        ('metric = ["auroc"]', "there is no setting metric; did you mean 'metrics'?"),
        ("[threshold]\nfpr = 0.05", "there is no setting threshold.fpr; choose from value, false_positive_rate, split"),
        ("[threshold]\nvalue = 0.5\nfalse_positive_rate = 0.1", "has both value and false_positive_rate"),
        (
            'split = "val"\n[threshold]\nfalse_positive_rate = 0.1',
            "[threshold] takes thresholds from the split val, which is evaluated (split = 'val'); choose another one",
        ),
        ('split = "all"\n[threshold]\nfalse_positive_rate = 0.1', "split val, which is evaluated (split = 'all')"),
        ("[threshold]\nfalse_positive_rate = 0", "threshold.false_positive_rate = 0: input should be greater than 0"),
        ('metrics = ["auc"]', "metrics: there is no 'auc'; did you mean 'auroc'?"),
        ("metrics = []", "metrics is empty; choose from auroc, "),
        ('conditions = ["dirty"]', "conditions: there is no 'dirty'; choose from clean, web, hard, transformed"),
        ('conditions = ["transformed"]', "the condition 'transformed' and the table [transformations] need each other"),
        (
            "[transformations]\nJPEG = [50]",
            "the condition 'transformed' and the table [transformations] need each other",
        ),
        ("[transformations]\nSepia = [1]", "transformations: there is no 'Sepia'; choose from JPEG, "),
        ("[transformations]\nJPEG = [0]", "transformations: JPEG needs strengths from 10 to 90 (quality)"),
        ('preprocessing = "crop"', "preprocessing: there is no 'crop'; choose from none, reencode"),
    ],
)
def test_a_wrong_protocol_says_what_to_write(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError) as error:
        load_protocol(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"split": "dev"}, "split = 'dev': input should be 'train', 'val', 'test' or 'all'"),
        ({"splits": "val"}, "there is no setting splits; did you mean 'split'?"),
    ],
)
def test_a_wrong_setting_in_python_is_an_error_of_one_line(content: dict[str, str], message: str) -> None:
    with pytest.raises(EvaluationError) as error:
        Protocol(name="mine", **content)
    assert str(error.value) == message


def test_an_unknown_protocol_suggests_a_ready_one() -> None:
    with pytest.raises(EvaluationError, match="no such file, and no ready protocol; did you mean 'genimage'"):
        load_protocol("gen-image")


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_a_threshold_is_the_lowest_score_that_few_enough_real_images_exceed(scores: list[int], rate: float) -> None:
    values = np.array([*scores, math.nan], dtype=np.float64)
    threshold = ValidationThreshold(rate, "val").choose(values)
    assert threshold in scores
    assert sum(score > threshold for score in scores) <= rate * len(scores) + 1e-6
    lower = [score for score in scores if score < threshold]
    assert not lower or sum(score > max(lower) for score in scores) > rate * len(scores) - 1e-6


def test_the_id_of_an_image_draws_its_transformation() -> None:
    image = helpers.natural(0)
    (condition,) = build_conditions(["transformed"], "none", {"JPEG": (10,), "flip": (1, 2)})
    assert condition.change is not None
    changed = {condition.change(image, f"i{number}").tobytes() for number in range(20)}
    assert len(changed) == 3
    assert condition.change(image, "i1").tobytes() == condition.change(image, "i1").tobytes()
    (other,) = build_conditions(["transformed"], "none", {"JPEG": (10,), "flip": (1,)})
    assert condition.version != other.version


def test_preprocessing_comes_before_the_change_of_the_condition() -> None:
    image = Image.effect_noise((500, 500), 60).convert("RGB")
    clean, web = build_conditions(["clean", "web"], "reencode", {})
    plain_web = build_conditions(["web"], "none", {})[0]
    assert clean.change is not None
    assert web.change is not None
    assert plain_web.change is not None
    assert min(clean.change(image, "a").size) == 384
    assert web.change(image, "a").tobytes() == plain_web.change(clean.change(image, "a"), "a").tobytes()
    assert web.version != plain_web.version


def test_a_generator_is_compared_with_its_own_real_images(evaluation: Evaluation) -> None:
    settings = SubsetSettings(("auroc",), ("ldm 200", "adm"), {"LDM_200": "laion"})
    real = {
        name: set(evaluation.column("source")[select_subset(evaluation, name, settings) & (evaluation.labels == 0)])
        for name in ("ADM", "ldm_200", "dalle")
    }
    assert real == {"ADM": {"ADM"}, "ldm_200": {"laion"}, "dalle": {"ADM", "laion"}}
    assert list_generators(evaluation, settings) == ["ldm_200", "ADM", "dalle"]


def test_the_mean_counts_each_generator_alike(evaluation: Evaluation) -> None:
    table = build_subset_table(evaluation, SubsetSettings(("accuracy_fake", "auroc"), ("ADM", "ldm_200")))
    assert [row.labels["Generator"] for row in table.rows] == ["ADM", "ldm_200", "dalle", MEAN_LABEL]
    assert [column.key for column in table.columns] == ["auroc", "accuracy_fake"]
    values = [row.cells["accuracy_fake"].value for row in table.rows]
    assert values[-1] == pytest.approx(sum(values[:-1]) / 3)
    mean, others = table.rows[-1].cells["auroc"], [row.cells["auroc"] for row in table.rows[:-1]]
    assert mean.value == pytest.approx(np.mean([each.value for each in others]))
    assert mean.low <= mean.value <= mean.high
    assert (mean.images, mean.clusters) == (60, 60)  # real images that generators share count once


def test_what_differs_from_the_dataset_of_the_protocol_is_named(evaluation: Evaluation) -> None:
    found = describe_rows(evaluation.dataset, evaluation.rows)
    assert (found.real, found.fake, found.generators) == (24, 36, {"ADM": 12, "dalle": 12, "ldm_200": 12})
    protocol = Protocol(name="mine", dataset=found)
    assert list(compare_datasets(protocol, found)) == []
    other = ExpectedDataset(hash="0" * 12, real=25, generators={"ADM": 12, "dalle": 10})
    assert list(compare_datasets(Protocol(name="mine", dataset=other), found)) == [
        f"The dataset has the hash {found.hash}, not 000000000000: it is not the one of the protocol.",
        "The split has 24 images that are real, not 25.",
        "The split has 12 images of the generator dalle, not 10.",
        "The split has images of ldm_200, which the protocol lacks.",
    ]
    assert list(
        compare_datasets(Protocol(name="mine", dataset=found, generators=("adm", "Dall-E", "glide", "LDM 200")), found)
    ) == ["The split has no images of glide, which the protocol has."]


@pytest.mark.parametrize("name", list_preset_protocols())
def test_a_written_protocol_is_read_as_it_was(name: str, evaluation: Evaluation, tmp_path: Path) -> None:
    found = describe_rows(evaluation.dataset, evaluation.rows)
    protocol = load_protocol(name).model_copy(update={"real_sources": {'a "quoted".name\\': "画"}})
    detector = replace(evaluation.detectors[0], name="a: b", identity="ab12")
    path = write_protocol(protocol, replace(evaluation, detectors=[detector]), tmp_path)
    written = load_protocol(str(path))
    assert written == protocol.model_copy(update={"dataset": found, "detectors": {"a: b": "ab12"}})
    assert written.hash == protocol.hash


def test_real_images_of_a_source_that_are_absent_are_named(evaluation: Evaluation) -> None:
    protocol = Protocol(name="mine", real_sources={"LDM 200": "laion", "adm": "imagenet", "glide": "imagenet"})
    assert list(list_differences(protocol, evaluation)) == [
        "The split has no real images of the source imagenet, with which adm is compared."
    ]


def test_names_of_generators_in_other_scripts_differ() -> None:
    assert normalise_name("文心一格 (v1)") == "文心一格v1" != normalise_name("混元 v1")
    assert normalise_name("LDM_200-cfg") == "ldm200cfg"


def evaluate_table(
    text: str, dataset: Dataset, scores: Sequence[float], folder: Path, column: str = "score"
) -> dict[str, Row]:
    """Evaluate a table of scores by a protocol; return the rows of the leaderboard."""
    lines = [f"{image_id},{score}" for image_id, score in zip(dataset.column("image_id"), scores, strict=True)]
    (folder / "scores.csv").write_text("\n".join([f"image_id,{column}", *lines]))
    (folder / "mine.toml").write_text(text)
    protocol = load_protocol(str(folder / "mine.toml"))
    settings = build_settings(protocol, 1.0)
    job = EvaluationJob(dataset, settings, folder / "out")
    evaluation = job.run([f"table=scores:{folder / 'scores.csv'}"], pytest.fail)
    result = describe_protocol_evaluation(evaluation, protocol)
    return {row.labels["Detector"]: row for row in result.tables[0].rows}


def test_a_threshold_between_0_and_1_is_only_applied_to_scores_that_lie_there(dataset: Dataset, tmp_path: Path) -> None:
    scores = [number % 7 for number in range(len(dataset))]
    rows = evaluate_table("conditions = ['clean']\n[threshold]\nvalue = 0.5", dataset, scores, tmp_path)
    assert set(rows["table"].cells) == {"auroc_clean"}
    assert set(rows["file properties only"].cells) == {"auroc_clean", "accuracy_clean"}
    text, small_scores = "conditions = ['clean']\n[threshold]\nvalue = 0.5", [score / 7 for score in scores]
    accuracies = []
    for column in ("score", "probability"):
        rows = evaluate_table(text, dataset, small_scores, tmp_path, column)
        accuracies.append(rows["table"].cells["accuracy_clean"])
    assert accuracies[0] == accuracies[1]
    rows = evaluate_table("conditions = ['clean']\n[threshold]\nvalue = 3", dataset, scores, tmp_path)
    assert set(rows["table"].cells) == {"auroc_clean", "accuracy_clean"}
    assert set(rows["file properties only"].cells) == {"auroc_clean"}


def test_the_file_classifier_has_no_accuracy_beside_thresholds_of_another_split(
    dataset: Dataset, tmp_path: Path
) -> None:
    scores = [number % 7 for number in range(len(dataset))]
    rows = evaluate_table("conditions = ['clean']\n[threshold]\nfalse_positive_rate = 0.3", dataset, scores, tmp_path)
    assert set(rows["table"].cells) == {"auroc_clean", "accuracy_clean"}
    assert set(rows["file properties only"].cells) == {"auroc_clean"}


def test_without_unchanged_files_there_is_no_classifier_of_files(dataset: Dataset, tmp_path: Path) -> None:
    scores = [0.5] * len(dataset)
    rows = evaluate_table("preprocessing = 'reencode'\nconditions = ['clean']", dataset, scores, tmp_path)
    assert set(rows) == {"table"}


def test_notes_describe_the_conditions_and_detectors_without_scores(evaluation: Evaluation) -> None:
    protocol = Protocol(name="mine", conditions=("web",), preprocessing="reencode")
    settings = build_settings(protocol, 1.0)
    changed = replace(
        evaluation, conditions=settings.conditions, detectors=[replace(evaluation.detectors[0], scores={})]
    )
    result = describe_protocol_evaluation(changed, protocol)
    assert "one: it has scores of unchanged files only, which are not evaluated." in result.notes
    assert result.tables[0].note.startswith(
        "Web: each delivered as web sites and messengers do: saved again, scaled or cropped, after preprocessing "
        "(reencode). Balanced"
    )


def test_a_detector_that_has_changed_is_named(evaluation: Evaluation) -> None:
    changed = replace(evaluation, detectors=[replace(evaluation.detectors[0], identity="ab12")])
    protocol = Protocol(name="mine", detectors={"one": "cd34", "another": "ef56"})
    assert list(list_differences(protocol, changed)) == [
        "The detector one has the identity ab12, not cd34: it is another one or has changed."
    ]


def read_tables(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in helpers.contents(folder).items() if name.endswith((".csv", ".tex"))}


def test_the_written_protocol_gives_the_same_tables_whatever_the_order_the_threads_and_the_batches(
    dataset: Dataset, detector_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = dataset.column("image_id").tolist()
    scores = "".join(f"{image_id},{number % 7}\n" for number, image_id in enumerate(ids))
    Path("scores.csv").write_text(f"image_id,score\n{scores}")
    Path("mine.toml").write_text(
        'split = "test"\nconditions = ["clean", "transformed"]\nsubset_metrics = ["balanced_accuracy"]\n'
        "[threshold]\nfalse_positive_rate = 0.3\n[transformations]\nJPEG = [50, 30]\n"
    )
    detectors = ["--detector", f"ours=changeling:{detector_folder}", "--detector", "table=scores:scores.csv"]
    for output, protocol in (("first", "mine.toml"), ("second", "first/protocol.toml")):
        done = helpers.run_changeling("evaluate", dataset.path, "--output", output, "--protocol", protocol, *detectors)
        assert (done.returncode, "which the protocol" in done.stderr) == (0, False), done.stderr
        detectors = detectors[2:] + detectors[:2]
        monkeypatch.setattr("changeling.evaluation.scoring.count_decoding_threads", lambda: 3)
        monkeypatch.setattr("changeling.evaluation.evaluate.ScoringJob", partial(ScoringJob, part_size=20))
    assert read_tables(tmp_path / "second") == read_tables(tmp_path / "first")
    result = next(result for result in load_results(tmp_path / "second") if result.experiment == "evaluation")
    assert result.settings["threshold"] == "what 30.0 % of the real images of val exceed"
    assert result.tables[-1].key == "subsets"
    assert [row.labels["Detector"] for row in result.tables[0].rows] == ["ours", "table", "file properties only"]
    assert (tmp_path / "second/leaderboard.html").exists()


def test_the_result_names_the_protocol_and_what_differs_from_it(evaluation: Evaluation) -> None:
    protocol = Protocol(name="mine", metrics=("auroc", "brier_score"), generators=("glide",), training="ProGAN")
    result = describe_protocol_evaluation(evaluation, protocol)
    assert result.settings["protocol"] == "mine"
    assert result.settings["detectors are trained on"] == "ProGAN"
    assert [column.key for column in result.tables[1].columns] == ["auroc", "brier_score"]
    assert {key for row in result.tables[1].rows for key in row.cells} == {"auroc", "brier_score"}
    assert result.notes[:2] == (
        "Differs from the protocol: The split has no images of glide, which the protocol has.",
        "Differs from the protocol: The split has images of ADM, dalle, ldm_200, which the protocol lacks.",
    )


def test_the_worst_images_are_those_that_a_detector_is_most_wrong_about(evaluation: Evaluation) -> None:
    real, fake = describe_worst_images(evaluation).sheets
    assert [strip.title for strip in real.strips] == ["one"]
    assert [Path(picture.path).name for picture in real.strips[0].pictures] == ["57.png", "55.png", "52.png", "50.png"]
    assert [picture.title for picture in fake.strips[0].pictures] == ["ADM", "ldm_200", "dalle", "ADM"]
    assert fake.strips[0].pictures[0].probability == pytest.approx(0.601)
    assert "changed" not in real.note


def test_pictures_of_images_that_were_scored_after_a_change_are_called_unchanged(evaluation: Evaluation) -> None:
    detector = replace(evaluation.detectors[0], scores={"web": evaluation.detectors[0].scores["clean"]})
    real, _ = describe_worst_images(replace(evaluation, conditions=[WEB], detectors=[detector])).sheets
    assert real.note.startswith("Web images. ")
    assert real.note.endswith("saved again, scaled or cropped); the pictures are not changed.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "genimage", "--split", "all"], "--protocol genimage says what is evaluated; leave out --split"),
        (["--protocol", "mine.toml"], "the split val has no real images, from which the protocol takes thresholds"),
    ],
)
def test_what_contradicts_a_protocol_ends_in_one_line(
    arguments: list[str], message: str, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[threshold]\nfalse_positive_rate = 0.05\n")
    Path("scores.csv").write_text("image_id,score\n" + "".join(f"i{number},0.5\n" for number in range(60)))
    command = ["evaluate", str(evaluation.dataset.path), "--output", "out", "--detector", "scores:scores.csv"]
    done = helpers.run_changeling(*command, *arguments)
    assert done.returncode == 2
    *progress, error = done.stderr.splitlines()
    assert message in error
    assert all(line.startswith("scores:scores.csv, ") for line in progress)
