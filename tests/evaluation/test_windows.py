"""The table of windows of time, against scikit-learn on images that are picked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import EvaluationError
from changeling.evaluation.conditions import CLEAN
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.protocols.protocol import Protocol, load_protocol
from changeling.evaluation.results.result import describe_protocol_evaluation
from changeling.evaluation.results.subsets import SubsetSettings
from changeling.evaluation.results.windows import build_window_table, list_windows
from changeling.evaluation.scoring import Scores

RELEASED = ("GAN 1", "GAN 2", "DM 1", "absent", "DM 2")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Twelve fakes of each of four generators, with as many real images of the same source, and random scores."""
    rows = []
    for name in ("dm_2", "gan_1", "other", "dm_1", "gan_2"):
        for number in range(24):
            image_id = f"{name}-{number}"
            path = f"{image_id}.png"
            if number % 2:
                rows.append(ImageRow(image_id, image_id, "child", path, "test", name, generator=name))
            else:
                rows.append(ImageRow(image_id, image_id, "parent", path, "test", name))
    dataset = write_dataset(tmp_path_factory.mktemp("windows") / "dataset", rows)
    values = np.random.default_rng(0).random(len(rows))
    scores = Scores(values, np.full(len(rows), None, dtype=object), [], 0.0, are_probabilities=True)
    return Evaluation(dataset, np.arange(len(rows)), [CLEAN], [DetectorScores("one", {"clean": scores})])


def compute_auroc(evaluation: Evaluation, sources: set[str]) -> float:
    """The AUROC of all images whose source is a generator, or the real images beside it."""
    is_used = np.isin(evaluation.column("source").astype(str), list(sources))
    values = evaluation.detectors[0].scores["clean"].values
    return float(roc_auc_score(evaluation.labels[is_used], values[is_used]))


def test_a_window_has_its_generators_together_and_a_period_all_up_to_it(evaluation: Evaluation) -> None:
    table = build_window_table(evaluation, SubsetSettings(("auroc", "accuracy_real"), RELEASED, window_size=2))
    assert [row.labels["Window"] for row in table.rows] == ["1: GAN 1 to GAN 2", "2: DM 1 to absent", "3: DM 2"]
    assert [column.group for column in table.columns] == 2 * ["This window"] + 2 * ["Up to this window"]
    first, second, third = (row.cells for row in table.rows)
    assert first["auroc_window"] == first["auroc_period"]
    expected = {
        "auroc_window": [{"gan_1", "gan_2"}, {"dm_1"}, {"dm_2"}],
        "auroc_period": [{"gan_1", "gan_2"}, {"gan_1", "gan_2", "dm_1"}, {"gan_1", "gan_2", "dm_1", "dm_2"}],
    }
    for key, sources in expected.items():
        values = [cells[key].value for cells in (first, second, third)]
        assert values == pytest.approx([compute_auroc(evaluation, each) for each in sources], abs=1e-12)
    assert [cells["auroc_period"].images for cells in (first, second, third)] == [48, 72, 96]


def test_generators_whose_names_are_written_in_two_ways_are_in_one_window(tmp_path: Path) -> None:
    rows = []
    for name in ("dm_1", "DM 1"):
        rows.append(ImageRow(name, name, "child", f"{name}.png", "test", name, generator=name))
        rows.append(ImageRow(f"{name}-real", name, "parent", f"{name}-real.png", "test", name))
    dataset = write_dataset(tmp_path / "dataset", rows)
    evaluation = Evaluation(dataset, np.arange(4), [CLEAN], [])
    (window,) = list_windows(evaluation, SubsetSettings(("auroc",), ("DM-1",), window_size=1))
    assert window.masks["window"].all()


def test_a_protocol_with_windows_has_their_table(evaluation: Evaluation, tmp_path: Path) -> None:
    protocol = Protocol(name="mine", generators=RELEASED, subset_metrics=("auroc",), window_size=2)
    result = describe_protocol_evaluation(evaluation, protocol)
    assert [table.key for table in result.tables][-2:] == ["subsets", "windows"]
    (tmp_path / "mine.toml").write_text("window_size = 4\n")
    with pytest.raises(EvaluationError, match="window_size needs generators"):
        load_protocol(str(tmp_path / "mine.toml"))


def test_ai_genbench_has_nine_windows_of_four_generators() -> None:
    protocol = load_protocol("ai-genbench")
    assert len(protocol.generators) == 9 * protocol.window_size == 36


def test_the_hash_of_protocols_without_windows_has_not_changed() -> None:
    plain = Protocol(name="mine", generators=RELEASED, subset_metrics=("auroc",))
    assert plain.hash == "3bdf1e3fc7e7"  # as it was before there were windows
    assert plain.model_copy(update={"window_size": 2}).hash != plain.hash
