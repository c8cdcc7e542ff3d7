"""`hf:MODEL`: an image classifier of transformers, from a folder or the Hugging Face Hub; safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.models.fake_label import find_fake_outputs, split_label
from changeling.evaluation.detectors.models.model_detector import ModelDetector, Pixels, ScoreArray, convert_logits
from changeling.images.decode import ImageFile, decode_image


def load_hugging_face(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Load a classifier and its image processor, without running code of the repository.

    Raises:
        DetectorError: transformers is missing, or it is not clear which outputs mean fake.
        BackboneError, WeightsError: the model cannot be loaded or fetched.
    """
    name, requested = split_label(argument)
    spec = f"hf:{name}"
    model, processor = _load_model(name, spec)
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    fakes = find_fake_outputs(labels, requested, spec)

    def load(file: ImageFile) -> Pixels:
        inputs = processor(images=decode_image(file).image, return_tensors="pt")
        return np.asarray(inputs["pixel_values"][0].numpy(), np.float32)

    def predict(pixels: Pixels) -> ScoreArray:
        return convert_logits(_compute_logits(model, pixels), fakes)

    return ModelDetector(_identify(model, processor, fakes), load, predict)


def _load_model(name: str, spec: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
        from transformers.utils.logging import disable_progress_bar

        from changeling.backbones.loading import convert_loading_errors
        from changeling.backbones.torch_model import default_device
    except ImportError as error:
        raise DetectorError(f"{spec} needs transformers: pip install 'changeling[evaluate]' ({error})") from None
    disable_progress_bar()
    with convert_loading_errors(spec, may_fetch=not Path(name).is_dir()):
        model = AutoModelForImageClassification.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    return model.eval().to(default_device()), processor


def _identify(model: Any, processor: Any, fakes: tuple[int, ...]) -> str:
    from changeling.backbones.torch_model import hash_weights

    config = model.config.to_dict() | {"_name_or_path": "", "transformers_version": ""}
    described = json.dumps([config, processor.to_dict()], sort_keys=True, default=str)
    return hash_identity("hf", hash_weights(model, ""), described, str(fakes))


def _compute_logits(model: Any, pixels: Pixels) -> Pixels:
    import torch

    with torch.inference_mode():
        logits = model(pixel_values=torch.tensor(pixels).to(model.device)).logits
    return np.asarray(logits.float().cpu().numpy(), np.float32)
