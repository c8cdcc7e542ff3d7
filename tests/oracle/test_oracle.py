"""Every estimate of a study, its interval and its chance level against a second computation."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from changeling.studies.runner import open_dataset, run_experiments
from changeling.studies.settings import load_study
from tests.oracle.data import DIMS, GENERATORS, UNKNOWN, Images, draw_images, write_images
from tests.oracle.distances import compute_distances
from tests.oracle.probes import Training, compute_probes, compute_transfer
from tests.oracle.projections import Optimisation, Trained, compute_curve, compute_disentanglement
from tests.oracle.retrieval import compute_retrieval
from tests.oracle.rows import ROW_GENERATORS, Rows

TABLES = """
dataset = "dataset"
experiments = ["distances", "probe", "retrieval"]
"""
OTHER_TABLES = """
dataset = "dataset"
experiments = ["distances", "probe"]
seed = 7
[distances]
distance = "l2"
to = "fakes"
[probe]
children = "all"
train_on = "g-one"
C = 0.03
standardise = false
"""
PROJECTIONS = """
dataset = "dataset"
backbones = ["backbone-b"]
experiments = ["disentangle"]
[disentangle]
epochs = 3
min_steps = 60
batch = 128
curve = false
"""
OTHER_PROJECTIONS = """
dataset = "dataset"
backbones = ["backbone-b"]
experiments = ["disentangle"]
seed = 7
[disentangle]
train_on = "g-one"
C = "tuned"
standardise = true
temperature = 0.2
weight_decay = 0.1
lr = 3e-3
epochs = 100
min_steps = 1
batch = 128
"""
NON_LINEAR_EPOCHS = 20
Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def images() -> Images:
    return draw_images(seed=0)


@pytest.fixture(scope="module")
def folder(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oracle")
    write_images(folder / "dataset", images)
    return folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> Results:
    return run(folder, TABLES)


@pytest.fixture(scope="module")
def other_tables(folder: Path) -> Results:
    return run(folder, OTHER_TABLES)


def run(folder: Path, settings: str) -> Results:
    """Run a study file, and return its results as the JSON that it writes."""
    path = folder / "study.toml"
    path.write_text(settings)
    study = load_study(path)
    saved = [result.save(folder / "results") for result in run_experiments(open_dataset(study, folder), study)]
    return {path.stem: json.loads(path.read_bytes()) for path in saved}


def check_table(result: dict[str, Any], key: str, expected: Rows) -> None:
    """Compare the rows of a table, in their order, and all of their cells."""
    (table,) = (table for table in result["tables"] if table["key"] == key)
    found = {tuple(row["labels"].values()): row["cells"] for row in table["rows"]}
    assert list(found) == list(expected)
    differences = []
    for labels, cells in expected.items():
        assert found[labels].keys() == cells.keys()
        for name, cell in cells.items():
            given = {field: found[labels][name][field] for field in cell}
            if any(not is_equal(given[field], value) for field, value in cell.items()):
                differences.append((labels, name, given, cell))
    assert not differences
    for column in table["columns"]:
        levels = {cells[column["key"]]["chance"] for cells in found.values()}
        assert column["chance"] == (levels.pop() if len(levels) == 1 else None) or key == "hidden"


def is_equal(found: float | None, expected: float | None) -> bool:
    """Return whether two numbers differ by rounding only; a count must be the same."""
    if found is None or expected is None or isinstance(expected, int):
        return found == expected
    return abs(found - expected) < 1e-9


def test_the_dataset_has_what_makes_a_study_hard(images: Images) -> None:
    assert len(set(images.cluster.tolist())) > 290
    assert 0 < (~images.is_readable).sum() < (~images.has_feature("backbone-a")).sum()
    assert (images.caption_index[images.is_child] == UNKNOWN).any()
    assert set(images.generator[images.is_child].tolist()) > set(GENERATORS)


def test_distances(tables: Results, other_tables: Results, images: Images) -> None:
    check_table(tables["distances"], "distances", compute_distances(images, "cosine", "others"))
    check_table(other_tables["distances"], "distances", compute_distances(images, "l2", "fakes"))


def test_retrieval(tables: Results, images: Images) -> None:
    check_table(tables["retrieval"], "retrieval", compute_retrieval(images))


def test_probe(tables: Results, images: Images) -> None:
    check_probe(tables["probe"], images, Training())


def test_probe_with_other_settings(other_tables: Results, images: Images) -> None:
    check_probe(other_tables["probe"], images, Training("g-one", "all", 0.03, is_standardised=False, seed=7))


def check_probe(result: dict[str, Any], images: Images, training: Training) -> None:
    """Compare both tables of the probe, and the settings that were found."""
    rows, probes = compute_probes(images, training)
    check_table(result, "probe", rows)
    check_table(result, "transfer", compute_transfer(images, training))
    for backbone, probe in probes.items():
        assert result["settings"][f"C of {backbone}"] == pytest.approx(probe.c)
        assert result["settings"][f"training images of {backbone}"] == probe.training_images


def test_disentangle(folder: Path, images: Images) -> None:
    result = run(folder, PROJECTIONS)["disentangle"]
    tested_on: dict[str, tuple[str, ...]] = {name: (name,) for name in ROW_GENERATORS}
    check_disentangle(result, images, tested_on, Optimisation(3, 60, 128), Training(c=1.0, is_standardised=False))


def test_disentangle_with_other_settings(folder: Path, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("changeling.experiments.probe_curve.MAX_EPOCHS", NON_LINEAR_EPOCHS)
    result = run(folder, OTHER_PROJECTIONS)["disentangle"]
    optimisation = Optimisation(100, 1, 128, temperature=0.2, weight_decay=0.1, lr=3e-3, seed=7)
    expected = check_disentangle(result, images, {"g-one": ROW_GENERATORS}, optimisation, Training())
    assert {kind: projection.is_converged for (_, _, kind), projection in expected.items()} == {"S": True, "T": False}
    check_table(result, "hidden", compute_curve(images, expected, seed=7, epochs=NON_LINEAR_EPOCHS))


def check_disentangle(
    result: dict[str, Any],
    images: Images,
    tested_on: dict[str, tuple[str, ...]],
    optimisation: Optimisation,
    probe: Training,
) -> dict[tuple[str, str, str], Trained]:
    """Compare Table 4 and the settings that were found; return S and T."""
    rows, projections, probes = compute_disentanglement(images, "backbone-b", tested_on, optimisation, probe)
    check_table(result, "disentangle", rows)
    settings = result["settings"]
    for (trained_on, backbone, kind), projection in projections.items():
        name = f"{'all generators' if trained_on == 'all' else trained_on}, {backbone}"
        assert settings[f"clusters that S and T of {name} were trained on"] == projection.clusters
        assert settings[f"steps of the training of S and T of {name}"] == len(projection.losses)
        loss, bound = re.findall(r"-?[\d.]+", settings[f"loss of {kind} of {name}"])
        assert (float(loss), float(bound)) == pytest.approx((projection.loss, projection.bound), abs=0.0051)
        if probe.c is None:
            c = probes[trained_on, backbone, kind].c
            assert settings[f"C of the probe on {kind} of {name}"] == pytest.approx(c)
    return projections


def test_the_dataset_is_counted(tables: Results, images: Images) -> None:
    for result in tables.values():
        counts, is_readable = result["dataset"], images.is_readable
        assert counts["images"] == is_readable.sum()
        assert counts["rows without an image"] == (~is_readable).sum()
        assert counts["clusters"] == len(set(images.cluster[is_readable].tolist()))
        assert counts["children"] == (is_readable & images.is_child).sum()
        assert counts["parents"] == (is_readable & ~images.is_child).sum()
        assert [source["backbone"] for source in result["sources"]] == list(DIMS)
