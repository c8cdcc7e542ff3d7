"""The benchmark of flips, on a few images of the tiny detector."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from benchmarks import flips

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.detector import Detector
from changeling.images.deliveries import DELIVERIES
from tests import helpers


@pytest.fixture
def images_csv(tmp_path: Path) -> Path:
    """Real and generated images of two sources each, and one source that is not in the pattern."""
    rows = []
    for number in range(12):
        is_fake = number % 2 == 1
        folder = ("more_a", "more_b", "other")[number % 3]
        file = Path("images") / folder / f"{number}.png"
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (helpers.generated if is_fake else helpers.natural)(number, side=64).save(tmp_path / file)
        rows.append({"file": str(file), "role": "child" if is_fake else "parent"})
    with (tmp_path / "images.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "role"])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "images.csv"


def test_the_sample_has_both_classes_of_all_sources_and_each_redelivery_by_turns(images_csv: Path) -> None:
    sample = flips.draw_sample(images_csv, "more_*", count=6, seed=1)
    assert sample == flips.draw_sample(images_csv, "more_*", count=6, seed=1)
    assert [image.is_fake for image in sample] == [False] * 3 + [True] * 3
    for images in (sample[:3], sample[3:]):
        assert {Path(image.file).parent.name for image in images[:2]} == {"more_a", "more_b"}
        assert [image.redelivery for image in images] == list(flips.REDELIVERIES)[:3]


def test_no_redelivery_is_one_of_the_detectors_own_deliveries() -> None:
    own = [(d.crop, d.scale, d.codec, d.quality) for d in DELIVERIES]
    for steps in flips.REDELIVERIES.values():
        assert len(steps) > 1 or (steps[0].crop, steps[0].scale, steps[0].codec, steps[0].quality) not in own


def test_an_interrupted_run_goes_on_and_prints_shares_and_cost(
    images_csv: Path, tmp_path: Path, tiny_backbone: OnnxBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)
    sample = flips.draw_sample(images_csv, "more_*", count=8, seed=0)
    scores = tmp_path / "flips.jsonl"
    first = flips.compare_all(detector, sample[:3], tmp_path, scores)
    comparisons = flips.compare_all(detector, sample, tmp_path, scores)
    assert comparisons[:3] == first
    assert len(scores.read_text().splitlines()) == len(sample) == 8
    for comparison in comparisons:
        image = flips.redeliver(tmp_path / comparison.file, comparison.redelivery)
        image.save(tmp_path / "again.png")
        paths = [tmp_path / comparison.file, tmp_path / "again.png"]
        assert comparison.labels["detect"] == [verdict.label for verdict in detector.detect(paths)]
        assert comparison.labels["detect --stable"] == [verdict.label for verdict in detector.detect_stable(paths)]
    flips.print_summary(comparisons)
    printed = capsys.readouterr().out
    assert "4 real, 4 generated images of 2 sources" in printed
    shares = [float(line.split()[3]) for line in re.findall("unsure at first.*", printed)]
    for share, labels in zip(shares, read_first_labels(comparisons), strict=True):
        assert share == pytest.approx(100 * labels.count("unsure") / 8, abs=0.051)
    assert re.search(r"--stable \d+\.\d\d times that", printed)


def read_first_labels(comparisons: list[flips.Comparison]) -> list[list[str]]:
    """Return the labels of the images as they are, by method."""
    return [[comparison.labels[method][0] for comparison in comparisons] for method in (flips.PLAIN, flips.STABLE)]
