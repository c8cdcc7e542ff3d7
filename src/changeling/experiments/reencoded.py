"""What a linear probe scores as shipped, and after all files were encoded alike.

Real and fake images of a dataset often come in other formats, sizes and qualities, and a probe may learn these instead
of what a generator leaves. A sample of the images is scaled to a short side of at most 384 pixels and saved as JPEG of
quality 86, real and fake alike, and encoded by each backbone again. One probe is trained and tested on the images as
shipped, another one on the same images encoded alike. What the second one scores does not come from the files; what it
loses may, or may come from detail that the encoding removes. The image files are needed, and the backbones; features of
re-encoded images are stored in the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.errors import BackboneError, DatasetError, WeightsError
from changeling.experiments import probe
from changeling.experiments.base import Context, Cost, Experiment, Machine
from changeling.experiments.image_samples import Sample, SampleSettings, check_sample, draw_sample, estimate_encoding
from changeling.experiments.linear_probe import LinearProbe, fit_probe_on_rows
from changeling.experiments.reporting import (
    describe_dataset,
    describe_source,
    list_versions,
    make_estimate,
    note_leakage,
)
from changeling.experiments.selection import has_both_classes, renumber_clusters
from changeling.features.store import Features
from changeling.features.transformed import Variant, VariantSet, encode_variants
from changeling.images.transformations import REENCODING
from changeling.results.format import format_count, format_interval, format_label, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats import metrics
from changeling.stats.cluster_statistics import ClusterStatistic, auroc_statistic
from changeling.stats.intervals import difference_interval, mean_interval, statistic_interval

ENCODINGS = {"shipped": "As shipped", "reencoded": "Encoded alike"}
PREFIX = "reencoded"  # of the part files


class ReencodedSettings(SampleSettings):
    """Settings of the experiment."""

    images: int = Field(default=500, ge=2, description="test images that are encoded again, in whole clusters")
    training_images: int = Field(default=500, ge=4, description="images to train on that are encoded again")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A probe of one encoding of the images, its AUROC on the test images, and that on those to choose C on, if any."""

    probe: LinearProbe
    auroc: ClusterStatistic
    validation: float
    cells: dict[str, Estimate]


def run(context: Context, settings: ReencodedSettings) -> Result:
    """Encode the sample alike, and train and test a probe on each encoding of it.

    Raises:
        DatasetError: there are no image files, a split lacks real or fake images, or no backbone can be loaded.
        FeatureError: a backbone's features are missing, or were extracted from other images; or the disk is full.
    """
    check(context, settings)
    sample = draw_sample(context, settings)
    rows, sources, notes = [], [], []
    validation = []
    fitted: dict[str, str | int | float | bool | None] = {}
    for features in context.load_features():
        name = features.header.backbone
        try:
            outcomes = _compare_encodings(context, features, sample)
        except (BackboneError, WeightsError) as error:
            notes.append(f"Excluded, because it cannot encode images again: {name} ({error}).")
            continue
        rows.append(Row(labels={"Backbone": name}, cells=_list_cells(outcomes)))
        validation.append(outcomes["shipped"].validation)
        sources.append(describe_source(features))
        fitted |= {
            f"C of {name}, {ENCODINGS[encoding].lower()}": outcome.probe.c for encoding, outcome in outcomes.items()
        }
        notes += [
            f"The probe on {name} features did not converge ({ENCODINGS[encoding].lower()})."
            for encoding, outcome in outcomes.items()
            if not outcome.probe.is_converged
        ]
    if not rows:
        raise DatasetError(f"{context.dataset.path}: {' '.join(notes)}".rstrip("."))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        summary=_summarise(rows[int(np.argmax(np.nan_to_num(validation)))]),
        settings=_describe_settings(context, sample) | fitted,
        tables=(_build_table(rows),),
        dataset=describe_dataset(context.dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(*note_leakage(context.dataset), *notes),
    )


def check(context: Context, settings: ReencodedSettings) -> None:
    """Check that there are image files, both classes, and a backbone that may encode them.

    Raises:
        DatasetError: one of these is missing.
    """
    check_sample(context, settings)


def cost(context: Context, settings: ReencodedSettings, machine: Machine) -> Cost:
    """Return the estimated cost of the images in parts that are not written yet."""
    sample = draw_sample(context, settings)
    return estimate_encoding(context, {PREFIX: sum(map(len, (sample.train, sample.val, sample.test)))}, machine)


def _compare_encodings(context: Context, features: Features, sample: Sample) -> dict[str, Outcome]:
    """Train and test a probe on the images as shipped, and another one on those encoded alike.

    Raises:
        BackboneError, WeightsError: images are to be encoded, and the backbone cannot be loaded.
        DatasetError: the images that can be read lack a class.
    """
    dataset = context.dataset
    rows = np.concatenate([sample.train, sample.val, sample.test])
    variants = [Variant(int(row), REENCODING.name, REENCODING.strengths[0]) for row in rows]
    encoded = encode_variants(VariantSet(dataset, features.header, variants, PREFIX, context.seed), context.progress)
    valid = features.valid[rows] & np.isfinite(encoded).all(axis=1)
    parts = np.repeat(("train", "val", "test"), [len(sample.train), len(sample.val), len(sample.test)])[valid]
    labels, clusters = dataset.labels[rows[valid]], dataset.clusters[rows[valid]]
    for part in np.unique(parts):
        if not has_both_classes(labels[parts == part]):
            raise DatasetError(f"{dataset.path}: the {part} split needs real and fake images that can be read")
    values_by_encoding = {"shipped": features.values[rows[valid]], "reencoded": encoded[valid]}
    return {
        encoding: _evaluate(context, values, labels, clusters, parts) for encoding, values in values_by_encoding.items()
    }


def _evaluate(
    context: Context,
    values: NDArray[np.float32],
    labels: NDArray[np.int64],
    clusters: NDArray[np.int64],
    parts: NDArray[np.str_],
) -> Outcome:
    """Fit a probe with the settings of the experiment `probe`, and test it."""
    settings = context.get_settings(probe.EXPERIMENT)
    train, val, test = (np.flatnonzero(parts == part) for part in ("train", "val", "test"))
    c = None if settings.C == "tuned" else settings.C
    fitted = fit_probe_on_rows(values, labels, train, val, c=c, standardise=settings.standardise)
    scores, numbers = fitted.predict_scores(values[test]), renumber_clusters(clusters[test])
    auroc = auroc_statistic(labels[test], scores, numbers)
    predicted = (scores > 0).astype(np.int64)
    recalls = [metrics.recall(labels[test], predicted, numbers, label) for label in (0, 1)]
    cells = {
        "auroc": make_estimate(statistic_interval(auroc), 0.5),
        "balanced": make_estimate(mean_interval(*recalls), 0.5),
    }
    validation = metrics.auroc(labels[val], fitted.predict_scores(values[val]))  # NaN without images
    return Outcome(fitted, auroc, validation, cells)


def _list_cells(outcomes: dict[str, Outcome]) -> dict[str, Estimate]:
    """Return the cells of a backbone's row."""
    cells = {f"{encoding}_{key}": cell for encoding, outcome in outcomes.items() for key, cell in outcome.cells.items()}
    return cells | {"lost": make_estimate(difference_interval(outcomes["shipped"].auroc, outcomes["reencoded"].auroc))}


def _build_table(rows: Sequence[Row]) -> Table:
    columns = [
        Column(key=f"{encoding}_{key}", label=label, group=title, chance=0.5)
        for encoding, title in ENCODINGS.items()
        for key, label in (("auroc", "AUROC"), ("balanced", "Balanced"))
    ]
    return Table(
        key="reencoded",
        title="A linear probe on images as shipped, and on the same images encoded alike",
        labels=("Backbone",),
        columns=(*columns, Column(key="lost", label="AUROC lost", group="Difference", better="none")),
        rows=tuple(rows),
        note="Encoded alike: real and fake images with a short side of at most 384 pixels, JPEG 86, 4:2:0, for "
        "training and testing. Lost: the paired difference of the AUROCs on the same test images, in percentage "
        "points. An interval above 0 is evidence that part of the accuracy comes from the files, or from detail that "
        "the encoding removes.",
    )


def _summarise(row: Row) -> str:
    """Return what is left of the AUROC of a backbone, that with the highest one on the images to choose C on."""
    shipped, reencoded, lost = (row.cells[key] for key in ("shipped_auroc", "reencoded_auroc", "lost"))
    start = (
        f"A linear probe on {row.labels['Backbone']} features has an AUROC of {format_percent(shipped.value)} on "
        f"{format_count(shipped.images, 'test image', 'test images')} as shipped (95 % interval "
        f"{format_interval(shipped)}), and of {format_percent(reencoded.value)} ({format_interval(reencoded)}) if real "
        "and fake images are encoded alike"
    )
    if lost.low > 0:
        ends = f"{100 * lost.low:.1f} to {100 * lost.high:.1f}"
        return (
            f"{start}: {100 * lost.value:.1f} points ({ends}) come from the files, or from detail that the encoding "
            "removes."
        )
    return f"{start}: no loss that these data can tell."


def _describe_settings(context: Context, sample: Sample) -> dict[str, str | int | float | bool | None]:
    settings = context.get_settings(probe.EXPERIMENT)
    return {
        "trained on children of": format_label(settings.train_on),
        "encoded alike": "short side of at most 384 pixels, JPEG of quality 86 with 4:2:0 chroma",
        "training images": len(sample.train),
        "images to choose C on": len(sample.val),
        "test images": len(sample.test),
        "seed": context.seed,
    }


EXPERIMENT = Experiment(
    name="reencoded",
    title="How much of the accuracy comes from the files?",
    paper="",
    settings=ReencodedSettings,
    check=check,
    run=run,
    cost=cost,
)
