from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.model import load_model
from changeling.errors import ModelError
from tests import helpers


@pytest.fixture
def folder(tmp_path: Path, tiny_backbone: OnnxBackbone) -> Path:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    return tmp_path / "model"


def test_what_is_saved_is_loaded(folder: Path, tiny_backbone: OnnxBackbone) -> None:
    saved, loaded = helpers.tiny_detector(tiny_backbone), load_model(folder)
    assert loaded.model == saved.model
    np.testing.assert_allclose(loaded.head.weight, saved.head.weight, rtol=1e-6)
    assert loaded.head.bias == saved.head.bias
    assert sorted(path.name for path in folder.iterdir()) == ["head.safetensors", "model.json"]


@pytest.mark.parametrize(
    ("probability", "label"),
    [(0.0, "real"), (0.399, "real"), (0.4, "unsure"), (0.6, "unsure"), (0.601, "fake"), (1.0, "fake")],
)
def test_a_label_is_where_the_probability_falls(probability: float, label: str, folder: Path) -> None:
    assert load_model(folder).label(probability) == label


def test_probabilities_rise_with_the_score_and_stay_in_bounds(folder: Path) -> None:
    trained = load_model(folder)
    steps = np.array([-1e9, -1, -0.1, 0, 0.1, 1, 1e9])[:, None] * trained.head.weight
    probabilities = trained.probabilities(steps)
    assert (np.diff(probabilities) > 0).all()
    assert 0 <= probabilities.min() < 1e-9
    assert 1 - 1e-9 < probabilities.max() <= 1


@pytest.mark.parametrize(("trained_in", "runs_in"), [("", "-half"), ("-half", ""), ("-half", "-half")])
def test_a_detector_runs_in_either_precision(trained_in: str, runs_in: str, tiny_onnx: Path) -> None:
    backbone = helpers.tiny_backbone(tiny_onnx)  # one of its own, to be changed
    trained = helpers.tiny_detector(backbone)
    trained = replace(trained, model=trained.model.model_copy(update={"weights": f"abc{trained_in}"}))
    backbone.weights = f"abc{runs_in}"
    trained.check(backbone)
    backbone.weights = f"abd{runs_in}"
    with pytest.raises(ModelError, match="train it again"):
        trained.check(backbone)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no folder", "is not a detector: it needs model.json and head.safetensors"),
        ("no head", "is not a detector"),
        ("no model", "is not a detector"),
        ("model is a list", "model.json"),
        ("a field is missing", "slope: Field required"),
        ("a field too many", "extra: Extra inputs"),
        ("head is noise", "head.safetensors cannot be read"),
        ("head has no bias", "head.safetensors cannot be read"),
        ("head is a matrix", "is not the head that model.json speaks of"),
    ],
)
def test_what_is_no_detector_is_refused(broken: str, message: str, folder: Path) -> None:
    model, head = folder / "model.json", folder / "head.safetensors"
    content = json.loads(model.read_text())
    if broken == "no folder":
        folder = folder / "nowhere"
    elif broken.startswith("no "):
        {"no head": head, "no model": model}[broken].unlink()
    elif broken == "head is noise":
        head.write_bytes(b"\xff" * 99)
    elif broken.startswith("head"):
        weight = np.ones((4, 4) if broken == "head is a matrix" else 16, np.float32)
        save_file({"weight": weight} | ({} if "bias" in broken else {"bias": np.zeros(1)}), head)
    else:
        content.pop("slope") if broken == "a field is missing" else content.update(extra=1)
        model.write_text(json.dumps([content] if broken == "model is a list" else content))
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
