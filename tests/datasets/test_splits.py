"""Splits that are drawn with given shares, and what is said of small ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.datasets.dataset import Dataset, assign_split, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.datasets.splits import Shares, describe_small_splits, parse_shares, redraw_splits
from changeling.errors import DatasetError
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study
from tests import helpers
from tests.helpers import run_changeling


def make_rows(counts: dict[str, int]) -> list[ImageRow]:
    """Rows without files: a parent and a child for each of so many clusters of a split."""
    names = [(split, f"{split}{number}") for split, count in counts.items() for number in range(count)]
    parents = [ImageRow(f"{name}-p", name, "parent", f"{name}-p.png", split) for split, name in names]  # type: ignore[arg-type]
    children = [
        ImageRow(f"{name}-c", name, "child", f"{name}-c.png", split, generator="sd")  # type: ignore[arg-type]
        for split, name in names
    ]
    return parents + children


@pytest.mark.parametrize("text", ["0.8/0.1/0.1", "80/10/10", "0.80/.1/1e-1"])
def test_shares_are_parsed(text: str) -> None:
    shares = parse_shares(text)
    assert (shares.train, shares.val, shares.test) == pytest.approx((0.8, 0.1, 0.1))


@pytest.mark.parametrize(
    "text", ["0.8", "0.8/0.2", "a/b/c", "0.8/0.1/0.2", "1.2/-0.1/-0.1", "nan/0/1", "0/0/0", "8/1/1"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=f"--split {text}: "):
        parse_shares(text)


@given(cluster_id=st.text(), val=st.floats(0, 1), test=st.floats(0, 1))
def test_seed_0_draws_as_without_a_seed(cluster_id: str, val: float, test: float) -> None:
    cluster_id = cluster_id.encode("utf-8", "replace").decode()
    assert assign_split(cluster_id, val, test, seed=0) == assign_split(cluster_id, val, test)


def test_splits_have_their_shares_and_differ_between_seeds(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, make_rows({"test": 1000}))
    drawn = []
    for seed in (0, 1, 1):
        dataset = redraw_splits(dataset, Shares(0.6, 0.1, 0.3), seed)
        drawn.append(dict(zip(dataset.column("cluster_id").tolist(), dataset.column("split").tolist(), strict=True)))
        counts = Counter(drawn[-1].values())
        assert counts["train"] == pytest.approx(600, abs=60)
        assert counts["val"] == pytest.approx(100, abs=40)
    assert drawn[0] != drawn[1] == drawn[2]
    assert Dataset(tmp_path).images.schema.equals(dataset.images.schema)


def test_small_splits_are_described_with_an_interval(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, make_rows({"train": 3, "test": 10}))
    assert [*describe_small_splits(dataset)] == [
        "the validation split has no clusters, so nothing can be measured on it",
        "the test split has only 10 clusters: a share of 5 of 10 has a 95 % interval from 19 to 81 %",
    ]


def test_large_splits_are_not_described(tmp_path: Path) -> None:
    assert not [*describe_small_splits(write_dataset(tmp_path, make_rows({"val": 50, "test": 50})))]


def test_import_draws_splits_and_says_that_they_are_small(tmp_path: Path) -> None:
    lines = ["file,role,group,split", *(f"{number}.png,parent,c{number},train" for number in range(40))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    command = ("import", "folder", tmp_path / "list.csv", "--output", tmp_path / "out")
    refused = run_changeling(*command, "--split", "8/1")
    assert refused.returncode == 2
    assert not (tmp_path / "out").exists()
    for number in range(40):
        helpers.natural(number).save(tmp_path / f"{number}.png")
    ran = run_changeling(*command, "--split", "50/25/25", "--seed", "3")
    assert ran.returncode == 0, ran.stderr
    dataset = Dataset(tmp_path / "out")
    expected = [assign_split(f"c{number}", 0.25, 0.25, 3) for number in range(40)]
    assert dataset.column("split").tolist() == expected
    count = expected.count("test")
    assert f"the test split has only {count} clusters: a share of {count // 2} of {count} has" in ran.stderr


def test_results_of_small_splits_have_a_note(tiny_dataset: Dataset, tiny_onnx: Path) -> None:
    ran = run_changeling("extract", tiny_dataset.path, "--backbone", f"onnx:{tiny_onnx}")
    assert ran.returncode == 0, ran.stderr
    (result,) = run_experiments(tiny_dataset, Study(experiments=("distances",)))
    assert "The test split has only 3 clusters: a share of 1 of 3 has a 95 % interval from 1 to 91 %." in result.notes
