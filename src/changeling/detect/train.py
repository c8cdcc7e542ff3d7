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
from changeling.datasets.messages import Note, ignore_note
from changeling.detect.card import write_card
from changeling.detect.cross_validation import FOLDS, can_hold_out_sources, choose_c
from changeling.detect.detector import Detector
from changeling.detect.evaluation import measure_calibration, measure_held_out
from changeling.detect.fitting import COMPONENTS, WCCN_STRENGTH, Projection, fit_logistic_regression
from changeling.detect.held_out import HeldOutImages
from changeling.detect.model import Head, ModelInfo, TrainedModel
from changeling.detect.neighbours import build_neighbours
from changeling.detect.thresholds import (
    FALSE_NEGATIVE_RATE,
    FALSE_POSITIVE_RATE,
    SourceErrors,
    Thresholds,
    choose_thresholds,
    describe_threshold_problem,
    judge_sources,
    measure_flips,
    summarise_errors,
)
from changeling.detect.training_set import (
    ImageRows,
    TrainingFeatures,
    compute_sample_weights,
    extract_training_features,
    read_rows,
)
from changeling.files import StrPath
from changeling.progress import Progress, silent
from changeling.stats.calibration import Platt, fit_platt

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
class _FittedHead:
    """A head and its projection, with the C and the scores that cross-validation gave, and what was fitted to them."""

    head: Head
    projection: Projection
    c: float
    held_out: HeldOutImages
    thresholds: Thresholds
    judged: list[SourceErrors]
    platt: Platt


def train_detector(
    dataset: Dataset,
    output: StrPath,
    *,
    backbone: str = "clip-vit-b16",
    settings: TrainingSettings | None = None,
    note: Note = ignore_note,
    progress: Progress = silent,
) -> Detector:
    """Train a detector on all images of `dataset`, whatever their split, and write it to the folder `output`.

    The head is trained on each image and on a copy, whose size, codec, quality and crop are drawn from one
    distribution for real and fake images. C, the calibration and the thresholds come from cross-validation: scores of
    images, and of their copies, whose sources and generators were held out.

    Args:
        dataset: at least ten real and ten fake images.
        output: the detector's folder, and its name. A detector in it is overwritten.
        backbone: whose features are extracted where they are missing: see `load_backbone`.
        settings: see `TrainingSettings`.
        note: called with a warning if the images are too few or too alike for the labels.
        progress: called with the progress of slow steps.

    Raises:
        BackboneError, WeightsError: the backbone cannot be loaded.
        DatasetError: there are too few real or fake images, or none that can be held out.
        FeatureError: existing features were extracted with other weights or from other images.
    """
    settings, folder = settings or TrainingSettings(), Path(output)
    encoder = registry.load_backbone(backbone, progress)
    features, indices = extract_training_features(dataset, encoder, progress)
    rows = read_rows(dataset, indices)
    fitted = _fit_head(features, rows, settings, progress)
    model = _describe_model(folder.name, dataset, encoder, rows, fitted, settings)
    trained = TrainedModel(model, fitted.head)
    build_neighbours(features.images, rows, fitted.projection).save(folder)
    fitted.held_out.save(folder)
    write_card(model, fitted.judged, folder / "README.md")
    trained.save(folder)  # last: a folder with model.json is a detector
    thresholds = Thresholds(model.real_below, model.fake_above)
    problem = describe_threshold_problem(thresholds, fitted.platt(fitted.held_out.scores.images))
    if problem:
        note(f"warning: {problem}")
    return Detector(trained, encoder)


def _fit_head(
    features: TrainingFeatures, rows: ImageRows, settings: TrainingSettings, progress: Progress
) -> _FittedHead:
    """Choose C by cross-validation, then fit the head to all images and calibrate it on the held-out scores."""
    weights = compute_sample_weights(rows, settings.generator_weights)
    projection = Projection.fit([features.images, features.copies], settings.skipped_dims, settings.seed)
    projected = projection.transform_all(features)
    c, scores = choose_c(projected, rows, weights, settings.seed, progress)
    weight, bias = fit_logistic_regression(projected.images, projected.copies, rows, weights, c)
    held_out = HeldOutImages.select_tested(rows, scores)
    judged = judge_sources(held_out, FALSE_POSITIVE_RATE, FALSE_NEGATIVE_RATE, settings.seed)
    head, platt = projection.convert_head(weight, bias), _fit_platt(held_out, settings)
    thresholds = choose_thresholds(held_out, seed=settings.seed)
    return _FittedHead(head, projection, c, held_out, thresholds, judged, platt)


def _fit_platt(held_out: HeldOutImages, settings: TrainingSettings) -> Platt:
    """Fit Platt scaling to the scores of images and copies, every source of a class with equal weight.

    Where higher scores are no more often those of fakes, a score says nothing: every probability is 0.5.
    """
    weights = compute_sample_weights(held_out.rows, settings.generator_weights)
    scores = np.concatenate([held_out.scores.images, held_out.scores.copies])
    platt = fit_platt(scores, np.tile(held_out.rows.labels, 2), np.tile(weights, 2))
    return platt if platt.slope > 0 else Platt(slope=0.0, bias=0.0)


def _describe_model(
    name: str, dataset: Dataset, backbone: Backbone, rows: ImageRows, fitted: _FittedHead, settings: TrainingSettings
) -> ModelInfo:
    """Return the content of model.json, with the thresholds and the metrics on held-out images."""
    real_below, fake_above = fitted.platt(np.array([fitted.thresholds.real_below, fitted.thresholds.fake_above]))
    return ModelInfo(
        name=name,
        backbone=backbone.name,
        weights=backbone.weights,
        preprocessing=backbone.preprocessing.hash,
        head=fitted.head.hash,
        slope=fitted.platt.slope,
        bias=fitted.platt.bias,
        real_below=float(real_below),
        fake_above=float(fake_above),
        trained_on=_describe_dataset(dataset, rows),
        settings=_describe_settings(rows, settings, fitted),
        held_out=tuple(measure_held_out(fitted.held_out, settings.seed)),
        false_positives=summarise_errors(fitted.judged, 0, FALSE_POSITIVE_RATE),
        false_negatives=summarise_errors(fitted.judged, 1, FALSE_NEGATIVE_RATE),
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
    calibration = measure_calibration(fitted.held_out, fitted.platt)
    opposite, other = measure_flips(fitted.held_out, fitted.thresholds)
    factors = [f"{name} x {factor:g}" for name, factor in sorted(settings.generator_weights.items())]
    return {
        "folds": FOLDS,
        "principal components": COMPONENTS,
        "WCCN strength": WCCN_STRENGTH,
        "left out": "sources and generators" if can_hold_out_sources(rows) else "clusters",
        "median calibration error of a source": float(np.median(calibration)) if calibration else "unknown",
        "worst calibration error of a source": calibration[-1] if calibration else "unknown",
        "copies with the opposite label": opposite,
        "copies with another label": other,
        "generator weights": "; ".join(factors) or "1 each",
        "skipped dimensions": settings.skipped_dims,
        "C": fitted.c,
        "seed": settings.seed,
    }
