"""The bundled detector as a Result: its metrics on held-out images, and its verdicts on the samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from changeling.detect.detector import Verdict
from changeling.detect.model import ModelInfo, describe_error_rates
from changeling.results.format import format_percent
from changeling.results.result import Column, Estimate, Picture, Result, Row, Sheet, Strip, Table


def describe_detector(model: ModelInfo, verdicts: Sequence[Verdict]) -> Result:
    """Return the detector as a Result: its metrics on held-out images, and its verdicts on the samples."""
    overall = model.held_out[0]
    dataset = dict(model.trained_on)
    name = dataset.pop("dataset")
    return Result(
        experiment="detector",
        title=f"The bundled detector, {model.name}",
        summary=(
            f"On held-out sources and generators, AUROC is {format_percent(overall.auroc[0])} "
            f"({format_percent(overall.auroc[1])} to {format_percent(overall.auroc[2])}); at 5 % FPR, the detector "
            f"finds {100 * overall.tpr_at_5[0]:.0f} % of the fake images. {describe_error_rates(model)}"
        ),
        settings=model.settings | {"resamples": 500},
        tables=(_build_held_out_table(model),),
        sheets=(_build_sample_sheet(verdicts),),
        dataset={"name": name, **dataset},
        versions=dict(model.versions),
    )


def _build_held_out_table(model: ModelInfo) -> Table:
    columns = (
        Column(key="auroc", label="AUROC", chance=0.5),
        Column(key="tpr_at_5", label="TPR at 5 % FPR", chance=0.05),
        Column(key="tpr_at_1", label="TPR at 1 % FPR", chance=0.01),
    )
    rows = []
    for held_out in model.held_out:
        cells = {}
        for column in columns:
            value, low, high = getattr(held_out, column.key)
            cells[column.key] = Estimate(
                value=value, low=low, high=high, clusters=held_out.clusters, images=held_out.images
            )
        rows.append(Row(labels={"Fake images by": held_out.generator}, cells=cells))
    return Table(
        key="held-out",
        title="Held-out generators against real images of held-out sources",
        labels=("Fake images by",),
        columns=columns,
        rows=tuple(rows),
        note="TPR at 5 % FPR: the share of fake images that are detected when 5 % of the real images are called fake.",
    )


def _build_sample_sheet(verdicts: Sequence[Verdict]) -> Sheet:
    """Return a sheet with up to six verdicts each: the most certain real and fake ones, and the least certain ones."""
    by_probability = sorted(verdicts, key=lambda verdict: verdict.probability or 0.0)
    by_certainty = sorted(verdicts, key=lambda verdict: abs((verdict.probability or 0.0) - 0.5))
    real = [verdict for verdict in by_probability if verdict.label == "real"][:6]
    fake = [verdict for verdict in reversed(by_probability) if verdict.label == "fake"][:6]
    uncertain = [verdict for verdict in by_certainty if verdict not in (*real, *fake)][:6]
    strips = (("Most certain: real", real), ("Most certain: fake", fake), ("Least certain", uncertain))
    return Sheet(
        key="samples",
        title="Verdicts on sample images",
        strips=tuple(
            Strip(title=title, pictures=tuple(map(_build_picture, some_verdicts)))
            for title, some_verdicts in strips
            if some_verdicts
        ),
        note="For display only: these images were not used for training, tuning or metrics.",
    )


def _build_picture(verdict: Verdict) -> Picture:
    path = Path(verdict.path)
    return Picture(
        path=str(path.absolute()),
        title=f"{path.stem} ({'generated' if path.parent.name == 'fake' else 'photograph'})",
        probability=verdict.probability,
        label=verdict.label,
    )
