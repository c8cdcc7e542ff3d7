"""The list of regressions, on a few images of the tiny detector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import regressions
from benchmarks.regressions import Picture

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.detector import Detector
from changeling.images.decode import read_file
from tests import helpers


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Picture]:
    found = {}
    for number in range(1, 5):
        path = tmp_path / f"{number}.png"
        (helpers.natural if number % 2 else helpers.generated)(number).save(path)
        found[read_file(path).sha256] = Picture(path, path.name, "parent" if number % 2 else "child")
    return found


def test_the_model_that_wrote_the_list_changes_nothing(
    pictures: dict[str, Picture], tmp_path: Path, tiny_backbone: OnnxBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    regressions.write_list(regressions.detect_expected(detector, pictures), tmp_path / "list.csv")
    rows = regressions.read_list(tmp_path / "list.csv")
    assert [row.name for row in rows] == [f"{number}.png" for number in range(1, 5)]
    assert all(0 <= row.low < row.high <= 1 for row in rows)
    del pictures[rows[0].sha256]
    assert regressions.print_changes(detector, rows, pictures) == 0
    output = capsys.readouterr().out
    assert "3 pictures, 1 not found: 0 labels changed" in output
    assert "outside of their bands: 0" in output


def test_changed_labels_come_first_and_fail(
    pictures: dict[str, Picture], tiny_backbone: OnnxBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    rows = regressions.detect_expected(Detector(trained, tiny_backbone), pictures)
    decided = [row for row in rows if row.label != "unsure"]
    model = trained.model.model_copy(update={"real_below": 0.0, "fake_above": 1.0})
    rows[0] = replace(rows[0], low=2.0, high=3.0)
    status = regressions.print_changes(Detector(replace(trained, model=model), tiny_backbone), rows, pictures)
    labels, _, bands = capsys.readouterr().out.partition("probabilities outside")
    assert status == 1
    assert decided
    for row in decided:
        assert f"{row.name}: {row.label}" in labels
    assert rows[0].name in bands


def test_sample_pictures_of_packages_are_found(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("file,role,sha256\nimages/a/1.jpg,child,abc\n")
    found = regressions.find_pictures(tmp_path / "images.csv")
    assert found["abc"] == Picture(tmp_path / "images/a/1.jpg", "a/1.jpg", "child")
    assert {"sklearn/china.jpg", "sklearn/flower.jpg"} <= {picture.name for picture in found.values()}
