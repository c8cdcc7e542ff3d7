"""The command `explain`, as text, JSON and a map, with and without stored training images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from changeling.backbones.onnx import OnnxBackbone
from changeling.cli import app
from changeling.detect.detector import Detector
from changeling.detect.explanation.explain import Explainer
from changeling.detect.fitting import Projection
from changeling.detect.neighbours import build_neighbours
from changeling.detect.training_set import ImageRows
from changeling.errors import ImageError
from tests import helpers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Path:
    """A detector that stores its forty training images."""
    folder = tmp_path_factory.mktemp("model")
    images = [make(seed) for make in (helpers.natural, helpers.generated) for seed in range(20)]
    features = tiny_backbone.encode(np.stack([tiny_backbone.preprocessing(image) for image in images]))
    labels = np.repeat([0, 1], 20)
    names = np.array([("camera[1]", "alpha")[label] for label in labels], object)
    rows = ImageRows(labels, np.arange(40), names, np.array([("alpha" if label else None) for label in labels], object))
    helpers.tiny_detector(tiny_backbone).save(folder)
    build_neighbours(features, rows, Projection.fit([features], 0, seed=0)).save(folder)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "[b]x.png"
    helpers.generated(0).save(path)
    return path


def run_explain(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_adds_up_to_the_probability_of_detect(model: Path, picture: Path) -> None:
    explanation = json.loads(run_explain(picture, "--model", model, "--format", "json"))
    (verdict,) = Detector.load(model).detect([picture])
    assert explanation["probability"] == pytest.approx(verdict.probability, abs=1e-6)
    found = explanation["contributions"]
    total = found["blurred_score"] + sum(cell["contribution"] for cell in found["cells"])
    assert 1 / (1 + np.exp(-total)) == pytest.approx(verdict.probability, abs=1e-6)
    assert found["cells"][0]["box"] == [0, 0, 8, 8]
    nearest = explanation["nearest"][0]
    assert (nearest["source"], nearest["label"], nearest["generator"]) == ("alpha", "fake", "alpha")
    assert nearest["distance"] == pytest.approx(0, abs=2e-3)
    assert 0 <= explanation["distance_rank"] <= 1


def test_text_has_a_grid_the_sum_and_the_training_images(model: Path, picture: Path) -> None:
    text = run_explain(picture, "--model", model)
    lines = text.splitlines()
    assert lines[0] == str(picture)
    grid = [line.split() for line in lines[4:8]]
    assert [len(row) for row in grid] == [4, 4, 4, 4]
    assert all(float(cell.lstrip("~")) is not None for row in grid for cell in row)
    (sums,) = (line for line in lines if line.startswith("blurred picture"))
    blurred, cells, score = (float(part.split()[-1]) for part in sums.split(":")[0].split(","))
    assert blurred + cells == pytest.approx(score, abs=0.02)
    assert re.search(r"; 1[012]\d passes through the backbone", text)
    assert text.count("alpha") >= 2
    assert "The nearest is probably this picture or a copy of it" in text  # it is
    assert "of the training images have a nearer image" not in text


def test_text_says_how_well_the_detector_knows_pictures_like_this_one(model: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "unlike.png")
    text = run_explain(tmp_path / "unlike.png", "--model", model)
    assert "a copy of it" not in text
    assert re.search(r"\d % of the training images have a nearer image of another source", text)


def test_a_detector_without_training_images_says_so(tmp_path: Path, picture: Path, tiny_backbone: OnnxBackbone) -> None:
    helpers.tiny_detector(tiny_backbone).save(tmp_path)
    assert "The detector tiny does not store its training images; train it again." in run_explain(
        picture, "--model", tmp_path
    )
    assert json.loads(run_explain(picture, "--model", tmp_path, "--format", "json"))["nearest"] is None


def test_a_map_is_written(model: Path, picture: Path, tmp_path: Path) -> None:
    run_explain(picture, "--model", model, "--map", tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as drawn:
        assert (drawn.format, drawn.width) == ("PNG", 960)
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_more_orders_take_more_passes_for_the_same_sum(model: Path, picture: Path) -> None:
    few, many = (
        json.loads(run_explain(picture, "--model", model, "--format", "json", "--orders", orders))["contributions"]
        for orders in ("2", "8")
    )
    assert few["passes"] <= 62 < many["passes"] <= 242
    sums = [sum(cell["contribution"] for cell in found["cells"]) for found in (few, many)]
    assert sums[0] == pytest.approx(sums[1], abs=1e-6)
    assert min(cell["margin"] for cell in many["cells"]) >= 0


def test_a_file_that_cannot_be_read_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        Explainer.load(model).decode(str(tmp_path / "gone.png"))
    with pytest.raises(ImageError, match=r"x\.png: is not an image"):
        Explainer.load(model).decode(str(tmp_path / "x.png"))
