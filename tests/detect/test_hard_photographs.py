"""The benchmark of hard photographs: which photographs belong to a class, and whose scores they get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import hard_photographs
from PIL import Image

from changeling.detect.cross_validation import HeldOutScores
from changeling.detect.held_out import HeldOutImages
from changeling.detect.model import Label
from changeling.detect.training_set import ImageRows
from tests import helpers

ROWS = [
    {"file": "images/web_kodak/1.png", "role": "parent", "origin": "kodak/1.png", "note": ""},
    {"file": "images/a/2.png", "role": "child", "origin": "a/wedding.png", "note": ""},
    {"file": "images/a/3.png", "role": "parent", "origin": "a/3.png", "note": "wedding; was JPEG"},
    {"file": "images/a/4.png", "role": "parent", "origin": "a/orientation/portrait_4.png", "note": ""},
    {"file": "images/a/missing.png", "role": "parent", "origin": "a/food.png", "note": ""},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in ROWS[:4]:
        (tmp_path / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        helpers.natural(1, side=64).save(tmp_path / row["file"])
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / ROWS[2]["file"])
    return tmp_path


def test_photographs_are_counted_by_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels: list[Label] = ["real", "fake", "fake", "unsure", "real"]
    counts = hard_photographs.count_labels(ROWS, labels, folder)
    measured = {name: dict(count.labels) for name, count in counts.items() if count.labels}
    assert measured == {
        "film and scanned prints": {"real": 1},
        "weddings": {"fake": 1},
        "black and white": {"fake": 1},
        "at night, low light": {"fake": 1},
        "none of these": {"unsure": 1},
    }
    hard_photographs.print_counts(counts)
    assert "100.0 % (2.5 to 100.0)" in capsys.readouterr().out


def test_a_list_in_another_order_is_refused(folder: Path) -> None:
    listing = folder / "images.csv"
    listing.write_text("file,role\n" + "".join(f"{row['file']},{row['role']}\n" for row in ROWS))
    sources = np.array(["web_kodak", "a", "a", "a", "a"], object)
    rows = ImageRows(np.array([0, 1, 0, 0, 0]), np.arange(5), sources, np.full(5, None))
    scores = HeldOutScores(np.zeros(5), np.zeros(5))
    hard_photographs.check_order(HeldOutImages(rows, scores), listing)
    with pytest.raises(SystemExit, match="not the images that the model was trained on"):
        hard_photographs.check_order(HeldOutImages(rows, scores).take(np.array([1, 0, 2, 3, 4])), listing)
