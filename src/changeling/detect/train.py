"""Train a detector on a dataset: fit its head, calibrate it on held-out scores, and write it with its model card."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.detect.card import write_card
from changeling.detect.cross_validation import FOLDS, HeldOutScores, can_hold_out_sources, choose_c
from changeling.detect.fitting import COMPONENTS, WCCN_STRENGTH, Projection, fit_logistic_regression
from changeling.detect.held_out import measure_held_out
from changeling.detect.model import Head, ModelInfo, TrainedModel
from changeling.detect.training_set import (
    ImageRows,
    TrainingFeatures,
    compute_sample_weights,
    extract_training_features,
    read_rows,
)
from changeling.progress import Progress, silent
from changeling.stats import metrics
from changeling.stats.calibration import Platt, expected_calibration_error, fit_platt
from changeling.stats.metrics import Floats

FALSE_ALARM_RATE = 0.05  # share of held-out real images above `fake_above`
MISS_RATE = 0.20  # share of held-out fakes below `real_below`
_PACKAGES = ("changeling", "numpy", "onnxruntime", "scikit-learn")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Settings of the training of a detector.

    Attributes:
        generator_weights: factors on the weights of fakes by generator; 1 for a generator that is not named.
        skipped_dims: how many dimensions at the start of a feature are ignored, e.g. the early blocks of `@blocks`.
        seed: of the folds, the principal components and the bootstrap.
    """

    generator_weights: Mapping[str, float] = field(default_factory=dict)
    skipped_dims: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Calibration:
    """The map from scores to probabilities, the thresholds of the labels, and how both do on held-out images."""

    platt: Platt
    real_below: float
    fake_above: float
    rates: dict[str, float]


@dataclass(frozen=True, slots=True)
class _FittedHead:
    """A head with the C, the held-out scores and the calibration that cross-validation gave."""

    head: Head
    c: float
    scores: HeldOutScores
    calibration: _Calibration


def train_detector(
    dataset: Dataset,
    backbone_name: str,
    output: Path,
    settings: TrainingSettings | None = None,
    progress: Progress = silent,
) -> TrainedModel:
    """Train a detector on all images of `dataset`, whatever their split, and write it to the folder `output`.

    The head is trained on each image and on an augmented copy, whose size, codec, quality and crop are drawn from one
    distribution for real and fake images. C, the calibration and the thresholds come from cross-validation: scores of
    images, and of resaved copies, whose sources and generators were held out.

    Raises:
        DatasetError: there are too few real or fake images, or none that can be held out.
        FeatureError: existing features were extracted with other weights or from other images.
    """
    settings = settings or TrainingSettings()
    backbone = registry.load_backbone(backbone_name, progress)
    features, indices = extract_training_features(dataset, backbone, progress)
    rows = read_rows(dataset, indices)
    fitted = _fit_head(features, rows, settings, progress)
    model = _describe_model(output.name, dataset, backbone, rows, fitted, settings)
    trained = TrainedModel(model, fitted.head)
    trained.save(output)
    write_card(model, output / "README.md")
    return trained


def _fit_head(
    features: TrainingFeatures, rows: ImageRows, settings: TrainingSettings, progress: Progress
) -> _FittedHead:
    """Choose C by cross-validation, then fit the head to all images and calibrate it on the held-out scores."""
    weights = compute_sample_weights(rows, settings.generator_weights)
    projection = Projection.fit([features.images, features.augmented], settings.skipped_dims, settings.seed)
    projected = projection.transform_all(features)
    c, scores = choose_c(projected, rows, weights, settings.seed, progress)
    weight, bias = fit_logistic_regression(projected.images, projected.augmented, rows, weights, c)
    return _FittedHead(projection.convert_head(weight, bias), c, scores, _calibrate(rows, scores, weights))


def _calibrate(rows: ImageRows, scores: HeldOutScores, weights: Floats) -> _Calibration:
    """Fit Platt scaling to the scores of images and resaved copies, and set the thresholds to the two error rates."""
    all_scores, labels = np.concatenate([scores.images, scores.resaved]), np.tile(rows.labels, 2)
    is_tested = np.isfinite(all_scores)
    platt = fit_platt(all_scores[is_tested], labels[is_tested], np.tile(weights, 2)[is_tested])
    reals, fakes = (platt(all_scores[is_tested & (labels == label)]) for label in (0, 1))
    fake_above = metrics.threshold_at(reals, FALSE_ALARM_RATE)
    real_below = min(-metrics.threshold_at(-fakes, MISS_RATE), fake_above)
    rates = {
        "held-out reals called fake": float((reals > fake_above).mean()),
        "held-out fakes called real": float((fakes < real_below).mean()),
        "calibration error": expected_calibration_error(labels[is_tested], platt(all_scores[is_tested])),
    }
    return _Calibration(platt, real_below, fake_above, rates)


def _describe_model(
    name: str, dataset: Dataset, backbone: Backbone, rows: ImageRows, fitted: _FittedHead, settings: TrainingSettings
) -> ModelInfo:
    """Return the content of model.json, with the metrics on held-out images."""
    return ModelInfo(
        name=name,
        backbone=backbone.name,
        weights=backbone.weights,
        preprocessing=backbone.preprocessing.hash,
        head=fitted.head.hash,
        slope=fitted.calibration.platt.slope,
        bias=fitted.calibration.platt.bias,
        real_below=fitted.calibration.real_below,
        fake_above=fitted.calibration.fake_above,
        trained_on=_describe_dataset(dataset, rows),
        settings=_describe_settings(rows, settings, fitted),
        held_out=tuple(measure_held_out(rows, fitted.scores, settings.seed)),
        versions={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def _describe_dataset(dataset: Dataset, rows: ImageRows) -> dict[str, str | int]:
    return {
        "dataset": dataset.path.absolute().name,
        "hash": dataset.hash,
        "real images": int((rows.labels == 0).sum()),
        "fake images": int(rows.labels.sum()),
        "sources": len(set(rows.sources)),
        "generators": len(set(rows.generators) - {None}),
    }


def _describe_settings(
    rows: ImageRows, settings: TrainingSettings, fitted: _FittedHead
) -> dict[str, str | int | float]:
    factors = [f"{name} x {factor:g}" for name, factor in sorted(settings.generator_weights.items())]
    return {
        "folds": FOLDS,
        "principal components": COMPONENTS,
        "WCCN strength": WCCN_STRENGTH,
        "left out": "sources and generators" if can_hold_out_sources(rows) else "clusters",
        **fitted.calibration.rates,
        "generator weights": "; ".join(factors) or "1 each",
        "skipped dimensions": settings.skipped_dims,
        "C": fitted.c,
        "seed": settings.seed,
    }
