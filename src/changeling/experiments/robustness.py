"""What a linear probe scores on transformed images: compressed, blurred, cropped, shared, fifteen ways in all.

A sample of the test split, in whole clusters, is transformed at up to five strengths each, and encoded again. Two
probes score it, with the settings of the experiment `probe`: one is trained on a sample of the train split as it is,
the other also on the same images transformed once each, at random. Robust AUROC is that of unchanged and transformed
images together. The image files are needed, and the backbones; features of transformed images are stored in the
dataset, so that a study that is repeated, or resumed, does not encode them again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.errors import BackboneError, DatasetError, WeightsError
from changeling.experiments import probe
from changeling.experiments.base import Context, Cost, Experiment, Machine
from changeling.experiments.image_samples import Sample, SampleSettings, check_sample, draw_sample, estimate_encoding
from changeling.experiments.linear_probe import (
    LinearProbe,
    ProbeSettings,
    fit_probe_on_rows,
)
from changeling.experiments.reporting import describe_dataset, describe_source, list_versions, note_leakage
from changeling.experiments.robustness_tables import (
    STRENGTHS,
    TRAININGS,
    Scores,
    build_tables,
    note_comparisons,
    plot_strengths,
    summarise,
)
from changeling.experiments.selection import has_both_classes, renumber_clusters
from changeling.features.store import Features
from changeling.features.transformed import Variant, VariantSet, encode_variants
from changeling.images.transformations import TRANSFORMATIONS
from changeling.results.format import format_count, format_label
from changeling.results.result import Result
from changeling.stats.metrics import auroc


class RobustnessSettings(SampleSettings):
    """Settings of the experiment."""

    images: int = Field(default=50, ge=2, description="test images that are transformed, in whole clusters")
    training_images: int = Field(default=500, ge=4, description="images to train on, transformed once each")


@dataclass(frozen=True, slots=True)
class FittingImages:
    """Images to fit probes on: features (N, D), labels (N,), and masks (N,) of what they are."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    is_train: NDArray[np.bool_]  # else C is chosen on it
    is_clean: NDArray[np.bool_]  # else it is transformed


def run(context: Context, settings: RobustnessSettings) -> Result:
    """Transform and encode the test sample, and score it with both probes of each backbone.

    Raises:
        DatasetError: there are no image files, a split lacks real or fake images, or no backbone can be loaded.
        FeatureError: a backbone's features are missing, or were extracted from other images; or the disk is full.
    """
    check(context, settings)
    sample = draw_sample(context, settings)
    scores, sources, notes = [], [], []
    fitted: dict[str, str | int | float | bool | None] = {}
    for features in context.load_features():
        name = features.header.backbone
        try:
            probes, backbone_scores = _score_backbone(context, features, sample)
        except (BackboneError, WeightsError) as error:
            notes.append(f"Excluded, because it cannot encode transformed images: {name} ({error}).")
            continue
        scores.append(backbone_scores)
        sources.append(describe_source(features))
        fitted |= {f"C of {name}, {title}": probes[key].c for key, title in TRAININGS.items()}
        notes += _list_notes(name, probes, len(sample.test) - len(backbone_scores.labels))
    if not scores:
        raise DatasetError(f"{context.dataset.path}: {' '.join(notes)}".rstrip("."))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        summary=summarise(scores),
        settings=_describe_settings(context, sample) | fitted,
        tables=build_tables(scores),
        plots=plot_strengths(scores),
        dataset=describe_dataset(context.dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(*note_leakage(context.dataset), *note_comparisons(scores), *notes),
    )


def check(context: Context, settings: RobustnessSettings) -> None:
    """Check that there are image files, both classes, and a backbone that may encode them.

    Raises:
        DatasetError: one of these is missing.
    """
    check_sample(context, settings)


def cost(context: Context, settings: RobustnessSettings, machine: Machine) -> Cost:
    """Return the estimated cost of the variants in parts that are not written yet."""
    variants = _list_variants(context, draw_sample(context, settings))
    return estimate_encoding(context, {prefix: len(listed) for prefix, listed in variants.items()}, machine)


def _list_variants(context: Context, sample: Sample) -> dict[str, list[Variant]]:
    """Return the variants to encode, by the prefix that their features are stored under."""
    return {
        "train": _draw_variants(context, sample.train),
        "val": _draw_variants(context, sample.val),
        "test": [Variant(int(row), name, strength) for row in sample.test for name, strength in STRENGTHS],
    }


def _draw_variants(context: Context, rows: NDArray[np.int64]) -> list[Variant]:
    """Draw a transformation and a strength for each row, by the id of its image."""
    ids, variants = context.dataset.images["image_id"], []
    for row in rows.tolist():
        draw = random.Random(f"{context.seed}/{ids[row].as_py()}")  # noqa: S311 (a seed, not a secret)
        transformation = draw.choice(list(TRANSFORMATIONS.values()))
        variants.append(Variant(row, transformation.name, draw.choice(transformation.strengths)))
    return variants


def _score_backbone(context: Context, features: Features, sample: Sample) -> tuple[dict[str, LinearProbe], Scores]:
    """Encode the variants, fit both probes, and score the test images, unchanged and transformed.

    Raises:
        BackboneError, WeightsError: variants are to be encoded, and the backbone cannot be loaded.
        DatasetError: the images that can be read lack a class.
    """
    encoded = {
        prefix: encode_variants(
            VariantSet(context.dataset, features.header, variants, prefix, context.seed), context.progress
        )
        for prefix, variants in _list_variants(context, sample).items()
    }
    labels = context.dataset.labels
    fitting = _select_fitting_images(context, features, sample, encoded)
    probes = {training: _fit_probe(context, fitting, training) for training in TRAININGS}
    variants = encoded["test"].reshape(len(sample.test), len(STRENGTHS), -1)
    valid = features.valid[sample.test] & np.isfinite(variants).all(axis=(1, 2))
    rows = sample.test[valid]
    if not has_both_classes(labels[rows]):
        raise DatasetError(f"{context.dataset.path}: the test split needs real and fake images that can be read")
    inputs = np.concatenate([features.values[rows][:, None], variants[valid]], axis=1)
    is_val = fitting.is_clean & ~fitting.is_train
    scores = Scores(
        backbone=features.header.backbone,
        labels=labels[rows],
        clusters=renumber_clusters(context.dataset.clusters[rows]),
        values={training: fitted.predict_scores(inputs) for training, fitted in probes.items()},
        validation=auroc(fitting.labels[is_val], probes["clean"].predict_scores(fitting.values[is_val])),
    )
    return probes, scores


def _select_fitting_images(
    context: Context, features: Features, sample: Sample, encoded: dict[str, NDArray[np.float32]]
) -> FittingImages:
    """Return the images of the train and validation samples, unchanged and transformed, that can be read as both."""
    is_train = np.arange(len(sample.train) + len(sample.val)) < len(sample.train)
    rows = np.concatenate([sample.train, sample.val])
    transformed = np.concatenate([encoded[prefix] for prefix in ("train", "val") if len(encoded[prefix])])
    valid = features.valid[rows] & np.isfinite(transformed).all(axis=1)
    labels, is_train = context.dataset.labels[rows[valid]], is_train[valid]
    if not has_both_classes(labels[is_train]) or (len(sample.val) and not has_both_classes(labels[~is_train])):
        raise DatasetError(f"{context.dataset.path}: to train a probe, too few images of both classes can be read")
    return FittingImages(
        values=np.concatenate([features.values[rows[valid]], transformed[valid]]),
        labels=np.tile(labels, 2),
        is_train=np.tile(is_train, 2),
        is_clean=np.repeat([True, False], len(labels)),
    )


def _fit_probe(context: Context, images: FittingImages, training: str) -> LinearProbe:
    """Fit the probe of a training, with the settings of the experiment `probe`."""
    settings = context.get_settings(probe.EXPERIMENT)
    is_used = images.is_clean | (training == "mixed")
    return fit_probe_on_rows(
        images.values,
        images.labels,
        np.flatnonzero(is_used & images.is_train),
        np.flatnonzero(is_used & ~images.is_train),
        c=None if settings.C == "tuned" else settings.C,
        standardise=settings.standardise,
    )


def _describe_settings(context: Context, sample: Sample) -> dict[str, str | int | float | bool | None]:
    settings: ProbeSettings = context.get_settings(probe.EXPERIMENT)
    return {
        "trained on children of": format_label(settings.train_on),
        "features": f"centred on the training images, {'' if settings.standardise else 'not '}standardised",
        "training images": len(sample.train),
        "images to choose C on": len(sample.val),
        "test images": len(sample.test),
        "transformations": len(TRANSFORMATIONS),
        "transformed versions of each test image": len(STRENGTHS),
        "seed": context.seed,
    }


def _list_notes(backbone: str, probes: dict[str, LinearProbe], excluded: int) -> Iterator[str]:
    for key, title in TRAININGS.items():
        if not probes[key].is_converged:
            yield f"The probe on {backbone} features did not converge ({title})."
    if excluded:
        yield (
            f"Excluded because a version cannot be read or encoded by {backbone}: "
            f"{format_count(excluded, 'test image', 'test images')}."
        )


EXPERIMENT = Experiment(
    name="robustness",
    title="Which changes to an image break the probe?",
    paper="",
    settings=RobustnessSettings,
    check=check,
    run=run,
    cost=cost,
)
