from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.model import BUNDLED, load_model
from changeling.errors import ModelError
from tests import helpers


@pytest.fixture
def folder(tmp_path: Path, tiny_backbone: OnnxBackbone) -> Path:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_loaded_unchanged(folder: Path, tiny_backbone: OnnxBackbone) -> None:
    saved, loaded = helpers.tiny_detector(tiny_backbone), load_model(folder)
    assert loaded.model == saved.model
    np.testing.assert_allclose(loaded.head.weight, saved.head.weight, rtol=1e-6)
    assert loaded.head.bias == saved.head.bias
    assert sorted(path.name for path in folder.iterdir()) == ["head.safetensors", "model.json"]


def test_the_bundled_model_is_saved_byte_for_byte_as_it_was_loaded(tmp_path: Path) -> None:
    load_model().save(tmp_path)
    for name in ("model.json", "head.safetensors"):
        assert (tmp_path / name).read_bytes() == (BUNDLED / name).read_bytes()


@pytest.mark.parametrize(
    ("probability", "label"),
    [(0.0, "real"), (0.399, "real"), (0.4, "unsure"), (0.6, "unsure"), (0.601, "fake"), (1.0, "fake")],
)
def test_the_label_depends_on_both_thresholds(probability: float, label: str, folder: Path) -> None:
    assert load_model(folder).choose_label(probability) == label


def test_probabilities_increase_with_the_score_from_0_to_1(folder: Path) -> None:
    trained = load_model(folder)
    steps = np.array([-1e9, -1, -0.1, 0, 0.1, 1, 1e9])[:, None] * trained.head.weight
    probabilities = trained.predict_probabilities(steps)
    assert (np.diff(probabilities) > 0).all()
    assert 0 <= probabilities.min() < 1e-9
    assert 1 - 1e-9 < probabilities.max() <= 1


@pytest.mark.parametrize(("trained_in", "runs_in"), [("", "-half"), ("-half", ""), ("-half", "-half")])
def test_a_detector_runs_in_half_and_in_single_precision(trained_in: str, runs_in: str, tiny_onnx: Path) -> None:
    backbone = helpers.tiny_backbone(tiny_onnx)  # a copy for this test, which changes it
    trained = helpers.tiny_detector(backbone)
    trained = replace(trained, model=trained.model.model_copy(update={"weights": f"abc{trained_in}"}))
    backbone.weights = f"abc{runs_in}"
    trained.check_backbone(backbone)
    backbone.weights = f"abd{runs_in}"
    with pytest.raises(ModelError, match="train it again"):
        trained.check_backbone(backbone)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no folder", "is not a detector: there is no such folder"),
        ("no head", "is not a detector"),
        ("no model", "is not a detector"),
        ("model is a list", "model.json"),
        ("a field is missing", "slope: Field required"),
        ("a field too many", "extra: Extra inputs"),
        ("head is noise", "head.safetensors cannot be read"),
        ("head has no bias", "head.safetensors cannot be read"),
        ("head is a matrix", "is not the head that model.json describes"),
    ],
)
def test_an_invalid_detector_folder_is_refused(broken: str, message: str, folder: Path) -> None:
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
