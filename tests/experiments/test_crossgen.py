"""Probes across generators: cells match scikit-learn, and no probe learns from the generator that it is tested on."""

from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Split
from changeling.errors import DatasetError
from changeling.experiments import crossgen, generator_probes
from changeling.experiments.base import Context, Machine
from changeling.experiments.crossgen import CrossgenSettings
from changeling.experiments.generator_probes import GeneratorProbes, list_large_generators
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe_on_rows
from changeling.experiments.reporting import format_p_value
from changeling.features.store import load_features
from changeling.results.result import Result, Row, Table
from tests.experiments.conftest import keep_images, store

AXES = {"alpha": 0, "beta": 1, "gamma": 2}  # of the trace that each generator leaves
SHARED = 3  # axis of the trace that all leave
SPLITS: dict[Split, int] = {"train": 40, "val": 20, "test": 25}
RELEASED = {"alpha": date(2022, 8, 1), "beta": date(2023, 1, 1), "gamma": date(2024, 1, 1)}
SETTINGS = CrossgenSettings(min_clusters=20, draws=1, released=RELEASED)


def build_dataset(path: Path, shared: float = 0.8, *, is_complete: bool = True) -> Dataset:
    """Clusters of a parent and a child by each generator, with features by two backbones."""
    rng = np.random.default_rng(1)
    rows, values = [], []
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    for cluster, split in enumerate(splits):
        meaning = rng.normal(size=6)
        for name in (None, *AXES):
            if name == "beta" and cluster % 7 == 3 and not is_complete:
                continue
            rows.append(
                ImageRow(
                    image_id=f"{cluster}-{name}",
                    cluster_id=f"c{cluster}",
                    role="child" if name else "parent",
                    path=f"{cluster}-{name}.jpg",
                    split=split,
                    generator=name,
                    sha256=f"{cluster}-{name}",
                )
            )
            trace = np.zeros(6)
            if name:
                trace[AXES[name]], trace[SHARED] = 1.5, shared
            values.append(meaning + trace + 0.3 * rng.normal(size=6))
    dataset = write_dataset(path, rows)
    store(dataset, "planted", np.array(values, np.float32))
    store(dataset, "weaker", (np.array(values) + rng.normal(size=(len(values), 6))).astype(np.float32))
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(tmp_path_factory.mktemp("crossgen") / "d", is_complete=False)


@pytest.fixture(scope="module")
def context(dataset: Dataset) -> Context:
    """A context in which probes are quick to train, because C is given."""
    return Context(dataset, ["planted"], settings={"probe": ProbeSettings(C=0.1)})


@pytest.fixture(scope="module")
def result(dataset: Dataset) -> Result:
    context = Context(dataset, ["planted", "weaker"], settings={"probe": ProbeSettings(children="all")})
    return crossgen.run(context, SETTINGS)


def get_table(result: Result, key: str) -> Table:
    return next(table for table in result.tables if table.key == key)


def get_row(table: Table, **labels: str) -> Row:
    return next(row for row in table.rows if row.labels.items() >= labels.items())


class Recomputation:
    """AUROC and balanced accuracy by scikit-learn alone; C is the best on validation images of those trained on."""

    def __init__(self, dataset: Dataset, backbone: str) -> None:
        self.x, self.y = load_features(dataset, backbone).values.astype(np.float64), dataset.labels
        self.splits, self.names = dataset.column("split"), dataset.column("generator").astype(str)
        self.scores: dict[frozenset[str], np.ndarray] = {}

    def select(self, split: str, generators: Collection[str]) -> np.ndarray:
        mask: np.ndarray = (self.splits == split) & ((self.y == 0) | np.isin(self.names, list(generators)))
        return mask

    def train(self, generators: Collection[str]) -> np.ndarray:
        train, val = self.select("train", generators), self.select("val", generators)
        x = (self.x - self.x[train].mean(axis=0)) / (self.x[train].std(axis=0) + 1e-6)

        def fit(c: float) -> tuple[float, Any]:
            model = LogisticRegression(C=c, class_weight="balanced", solver="newton-cholesky", tol=1e-9, max_iter=200)
            model.fit(x[train], self.y[train])
            weights = compute_sample_weight("balanced", self.y[val])
            return log_loss(self.y[val], model.predict_proba(x[val]), sample_weight=weights), model

        losses = {c: fit(c)[0] for c in (10.0**power for power in range(-6, 3))}
        best = min(losses, key=lambda c: losses[c])
        losses |= {c: fit(c)[0] for c in (best * 10 ** (step / 4) for step in (-3, -2, -1, 1, 2, 3))}
        scores: np.ndarray = fit(min(losses, key=lambda c: losses[c]))[1].decision_function(x)
        return scores

    def test(self, trained: Collection[str], tested: Collection[str]) -> tuple[float, float]:
        key = frozenset(trained)
        if key not in self.scores:
            self.scores[key] = self.train(trained)
        test = self.select("test", tested)
        y, scores = self.y[test], self.scores[key][test]
        return float(roc_auc_score(y, scores)), float(balanced_accuracy_score(y, scores > 0))


@pytest.mark.parametrize("backbone", ["planted", "weaker"])
def test_every_cell_matches_an_independent_computation(dataset: Dataset, result: Result, backbone: str) -> None:
    tables = {table.key: table for table in result.tables}
    oracle = Recomputation(dataset, backbone)
    pairs = {(a, b): oracle.test([a], [b]) for a in AXES for b in AXES}
    for (trained, tested), values in pairs.items():
        for key, value in zip(("auroc", "balanced"), values, strict=True):
            row = get_row(tables[f"crossgen-{key}"], Backbone=backbone, **{"Trained on": trained})
            assert row.cells[tested].value == pytest.approx(value, abs=1e-9)
    left_out = {name: oracle.test(set(AXES) - {name}, [name]) for name in AXES}
    seen = {name: oracle.test(AXES, [name]) for name in AXES}
    for name in AXES:
        cells = get_row(tables["crossgen-left-out"], Generator=name, Backbone=backbone).cells
        assert (cells["left_out_auroc"].value, cells["left_out_balanced"].value) == pytest.approx(left_out[name])
        assert (cells["seen_auroc"].value, cells["seen_balanced"].value) == pytest.approx(seen[name])
        assert cells["lost"].value == pytest.approx(seen[name][0] - left_out[name][0])
    own = np.mean([pairs[name, name][0] for name in AXES])
    foreign = np.mean([values[0] for (a, b), values in pairs.items() if a != b])
    rest = np.mean([left_out[name][0] for name in AXES])
    cells = get_row(tables["crossgen"], Backbone=backbone).cells
    assert [cells[key].value for key in ("own", "foreign", "left_out", "own-foreign", "own-left_out")] == (
        pytest.approx([own, foreign, rest, own - foreign, own - rest])
    )
    for name, older in {"beta": ["alpha"], "gamma": ["alpha", "beta"]}.items():
        cells = get_row(tables["crossgen-chronological"], Generator=name, Backbone=backbone).cells
        assert (cells["auroc"].value, cells["balanced"].value) == pytest.approx(oracle.test(older, [name]))


def test_no_probe_learns_from_the_generator_that_it_is_tested_on(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: dict[int, set[str]] = {}
    probes: list[LinearProbe] = []  # kept, so that no two have the same id
    pairs: set[tuple[frozenset[str], frozenset[str]]] = set()
    fit, evaluate = fit_probe_on_rows, GeneratorProbes.evaluate

    def spy_on_fit(
        values: np.ndarray, labels: np.ndarray, train: np.ndarray, val: np.ndarray, **settings: Any
    ) -> LinearProbe:
        probe = fit(values, labels, train, val, **settings)
        splits = dataset.column("split")
        assert (set(splits[train]), set(splits[val])) == ({"train"}, {"val"})
        learnt[id(probe)] = set(dataset.column("generator")[[*train, *val]]) - {None}
        probes.append(probe)
        return probe

    def spy_on_test(self: GeneratorProbes, probe: LinearProbe, generators: Collection[str]) -> object:
        assert set(dataset.column("split")[self.select_rows("test", generators)]) == {"test"}
        pairs.add((frozenset(learnt[id(probe)]), frozenset(generators)))
        return evaluate(self, probe, generators)

    monkeypatch.setattr(generator_probes, "fit_probe_on_rows", spy_on_fit)
    monkeypatch.setattr(GeneratorProbes, "evaluate", spy_on_test)
    crossgen.run(Context(dataset, ["planted"]), SETTINGS)
    names = frozenset(AXES)
    expected = {(frozenset({a}), frozenset({b})) for a in AXES for b in AXES}
    expected |= {(names - {name}, frozenset({name})) for name in AXES}  # left out; the newest also in order
    expected |= {(names, frozenset({name})) for name in AXES} | {(names, names)}  # seen, and the learning curve
    assert pairs == expected


def test_a_probe_for_others_does_not_depend_on_the_generator_left_out(dataset: Dataset) -> None:
    features = load_features(dataset, "planted")
    before = GeneratorProbes(dataset, features, ProbeSettings(), 0).train(["alpha", "gamma"])
    features.values[dataset.column("generator") == "beta"] *= -20
    after = GeneratorProbes(dataset, features, ProbeSettings(), 0).train(["alpha", "gamma"])
    assert (before.c, before.weight.tolist()) == (after.c, after.weight.tolist())


def test_a_trace_of_its_own_is_not_found_in_another_generator(result: Result) -> None:
    cells = get_row(get_table(result, "crossgen"), Backbone="planted").cells
    assert cells["own-foreign"].low > 0
    assert "A probe on planted features, the best on validation, has a mean AUROC of " in result.summary
    assert f": it loses {100 * cells['own-foreign'].value:.1f} points (95 % interval " in result.summary


def test_without_traces_of_their_own_the_data_cannot_tell_generators_apart(context: Context, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "d")
    values = load_features(dataset, "planted").values.copy()
    values[:, :3] = np.random.default_rng(0).normal(size=(len(values), 3))
    store(dataset, "planted", values)
    result = crossgen.run(replace(context, dataset=dataset), SETTINGS)
    differences = get_table(result, "crossgen-differences")
    assert all(row.cells["difference"].low < 0 < row.cells["difference"].high for row in differences.rows)
    assert "Of 3 intervals, 0 do not contain 0; if no two were different, about 0.15 would not by chance." in (
        differences.note
    )
    assert "the data cannot tell whether it loses on a new generator (95 % interval of the difference " in (
        result.summary
    )


def test_a_mean_counts_the_clusters_and_images_of_all_generators(dataset: Dataset, result: Result) -> None:
    is_test = dataset.column("split") == "test"
    expected = (len(np.unique(dataset.clusters[is_test])), int(is_test.sum()))
    for row in get_table(result, "crossgen").rows:
        assert {(cell.clusters, cell.images) for cell in row.cells.values()} == {expected}


def test_differences_are_paired_and_named(result: Result) -> None:
    table = get_table(result, "crossgen-differences")
    assert [tuple(row.labels.values())[:2] for row in table.rows] == [
        ("backbones", "planted minus weaker"),
        ("generators", "alpha minus beta"),
        ("generators", "alpha minus gamma"),
        ("generators", "beta minus gamma"),
    ]
    left_out = get_table(result, "crossgen-left-out")
    means = {
        name: np.mean([row.cells["left_out_auroc"].value for row in left_out.rows if row.labels["Backbone"] == name])
        for name in ("planted", "weaker")
    }
    cell = table.rows[0].cells["difference"]
    assert cell.value == pytest.approx(means["planted"] - means["weaker"])
    assert cell.low < cell.value < cell.high
    gap = get_table(result, "crossgen")
    widths = [row.cells["left_out"].high - row.cells["left_out"].low for row in gap.rows]
    assert cell.high - cell.low < np.hypot(widths[0], widths[1])  # it would be as wide if the images were not the same


def test_differences_say_whether_they_are_significant_after_correction(result: Result) -> None:
    table = get_table(result, "crossgen-differences")
    p_values = [float(row.labels["Holm-adjusted p"].removeprefix("< ")) for row in table.rows]
    for row, p_value in zip(table.rows, p_values, strict=True):
        cell = row.cells["difference"]
        assert 0 <= p_value <= 1
        assert p_value >= 0.05 or cell.low > 0 or cell.high < 0  # the correction never makes a difference significant
    count = sum(p_value < 0.05 for p_value in p_values)
    assert f"with them, {count} of the differences {'is' if count == 1 else 'are'} significant at 5 %." in table.note


@pytest.mark.parametrize(
    ("p_value", "text"), [(float("nan"), "–"), (0.0, "< 0.001"), (0.0009, "< 0.001"), (0.001, "0.001"), (1.0, "1.000")]
)
def test_a_p_value_that_does_not_exist_is_not_significant(p_value: float, text: str) -> None:
    assert format_p_value(p_value) == text


def test_a_backbone_does_not_differ_from_its_copy(dataset: Dataset, context: Context) -> None:
    store(dataset, "copy", load_features(dataset, "planted").values)
    result = crossgen.run(replace(context, backbones=["planted", "copy"]), SETTINGS)
    cell = get_table(result, "crossgen-differences").rows[0].cells["difference"]
    assert (cell.value, cell.low, cell.high) == pytest.approx((0, 0, 0), abs=0.01)
    assert "the best on validation" not in result.summary


def test_generators_without_a_date_are_not_in_chronological_order(context: Context) -> None:
    some = {"Alpha": RELEASED["alpha"], "gamma": RELEASED["gamma"]}
    result = crossgen.run(context, SETTINGS.model_copy(update={"released": some}))
    (row,) = get_table(result, "crossgen-chronological").rows
    assert (row.labels["Generator"], row.labels["Released"]) == ("gamma", "2024-01-01")
    assert row.labels["Trained on"] == "1 until 2022-08-01"
    assert any("because the release date is unknown: beta." in note for note in result.notes)


def test_generators_of_one_day_are_not_trained_on_for_each_other(context: Context) -> None:
    same_day = RELEASED | {"gamma": RELEASED["beta"]}
    result = crossgen.run(context, SETTINGS.model_copy(update={"released": same_day}))
    rows = get_table(result, "crossgen-chronological").rows
    assert {(row.labels["Generator"], row.labels["Trained on"]) for row in rows} == {
        ("beta", "1 until 2022-08-01"),
        ("gamma", "1 until 2022-08-01"),
    }


def test_without_dates_there_is_no_chronological_table(context: Context) -> None:
    result = crossgen.run(context, CrossgenSettings(min_clusters=20, draws=1))
    assert [table.key for table in result.tables] == [
        "crossgen", "crossgen-auroc", "crossgen-balanced", "crossgen-left-out", "crossgen-differences",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("is_kept", "settings", "message"),
    [
        (lambda d: d.column("generator") != "?", {}, r"no generator has .*: at least 50 in the train split"),
        (
            lambda d: ~np.isin(d.column("generator").astype(str), ["beta", "gamma"]),
            {"min_clusters": 20},
            "one generator",
        ),
        (lambda d: (d.column("split") != "val") | (d.labels == 0), {"min_clusters": 20}, "one in the validation split"),
        (lambda d: (d.column("split") != "test") | (d.labels == 0), {"min_clusters": 20}, "and 3 in the test split"),
    ],
)
def test_too_few_clusters_are_an_error(tmp_path: Path, is_kept: Any, settings: dict[str, Any], message: str) -> None:
    complete = build_dataset(tmp_path / "d")
    dataset = keep_images(complete, is_kept(complete))
    with pytest.raises(DatasetError, match=message):
        crossgen.check(Context(dataset, ["planted"]), CrossgenSettings(**settings))


def test_with_c_given_no_validation_split_is_needed(dataset: Dataset, context: Context) -> None:
    without = keep_images(dataset, dataset.column("split") != "val")
    result = crossgen.run(replace(context, dataset=without), SETTINGS)
    assert result.tables == crossgen.run(context, SETTINGS).tables


def test_probes_that_do_not_converge_are_named(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_badly(*rows: Any, **settings: Any) -> LinearProbe:
        return replace(fit_probe_on_rows(*rows, **settings), is_converged=False)

    monkeypatch.setattr(generator_probes, "fit_probe_on_rows", fit_badly)
    *_, note = crossgen.run(context, SETTINGS).notes
    assert note.startswith("Probes that did not converge, by what they were trained on: planted features, alpha;")


def test_only_the_largest_generators_are_tested(
    dataset: Dataset, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossgen, "MAX_GENERATORS", 2)
    assert list_large_generators(dataset, 20, ProbeSettings()) == ["alpha", "gamma", "beta"]  # beta lacks children
    result = crossgen.run(context, SETTINGS)
    assert {row.labels["Generator"] for row in get_table(result, "crossgen-left-out").rows} == {"alpha", "gamma"}
    assert any(note.startswith("1 generator is not tested") for note in result.notes)


def test_children_without_a_parent_are_noted(dataset: Dataset, context: Context) -> None:
    in_test = dataset.column("split") == "test"
    first = dataset.clusters[in_test].min()
    fewer = keep_images(dataset, ~((dataset.clusters == first) & (dataset.labels == 0)))
    result = crossgen.run(replace(context, dataset=fewer), SETTINGS)
    assert any("3 have no parent: they are compared with real images of other content" in note for note in result.notes)


def test_a_generator_may_lack_clusters_that_others_have(dataset: Dataset, context: Context) -> None:
    is_first = dataset.clusters == dataset.clusters[dataset.column("split") == "test"].min()
    is_beta = dataset.column("generator") == "beta"
    fewer = keep_images(dataset, ~(is_first & ((dataset.labels == 0) | is_beta)))
    cells = get_row(crossgen.run(replace(context, dataset=fewer), SETTINGS).tables[0], Backbone="planted").cells
    assert cells["own"].clusters == cells["foreign"].clusters == SPLITS["test"]


def test_the_cost_grows_with_the_number_of_draws(context: Context) -> None:
    machine = Machine(speed=1e10, dims={"planted": 512})
    few, many = (
        crossgen.cost(context, SETTINGS.model_copy(update={"draws": draws}), machine).seconds for draws in (1, 50)
    )
    assert few < many
