"""`timm:MODEL`: an image classifier of timm with one or two outputs; a folder, or `hf-hub:ORG/NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.models.fake_label import find_fake_outputs, split_label
from changeling.evaluation.detectors.models.model_detector import ModelDetector, Pixels, ScoreArray, convert_logits
from changeling.images.decode import ImageFile


def load_timm(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Load a classifier of timm. Raises DetectorError, BackboneError, WeightsError."""
    try:
        from changeling.backbones.timm import load_timm_model
        from changeling.backbones.torch_model import compute_layers
    except ImportError as error:
        raise DetectorError(f"timm:{argument} needs timm: pip install 'changeling[evaluate]' ({error})") from None
    name, requested = split_label(argument)
    spec = f"timm:{name}"
    model = load_timm_model(name, spec)
    layers = compute_layers(model, model.blank_image(), spec)
    if "logits" not in layers:
        raise DetectorError(f"{spec} has no classifier; `head:` evaluates a linear head on a backbone")
    count = layers["logits"].shape[1]
    classifier: Any = model.network.model
    names = classifier.pretrained_cfg.get("label_names") or [str(index) for index in range(count)]
    labels = list(names.values()) if isinstance(names, Mapping) else list(names)
    fakes = find_fake_outputs(labels, requested, spec)

    def load(file: ImageFile) -> Pixels:
        return model.preprocessing(model.preprocessing.decode(file).image)

    def predict(pixels: Pixels) -> ScoreArray:
        return convert_logits(compute_layers(model, pixels, spec)["logits"], fakes)

    return ModelDetector(hash_identity("timm", model.weights, model.preprocessing.hash, str(fakes)), load, predict)
