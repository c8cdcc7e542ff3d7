"""The model card: a detector's training set, its metrics on held-out images, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from changeling.detect.model import LARGE_SOURCE, HeldOut, ModelInfo, describe_error_rates
from changeling.detect.thresholds import FALSE_NEGATIVE_RATE, FALSE_POSITIVE_RATE, MIN_SOURCE_IMAGES, SourceErrors
from changeling.files import atomic_write

_CARD = """# {name}

A linear head on `{backbone}` features. It returns the probability that an image is generated.

| | |
|---|---|
| backbone weights | `{weights}` |
| preprocessing | `{preprocessing}` |
{training_set}
| label `real` | below {real_below:.4f} |
| label `fake` | above {fake_above:.4f} |

## Error rates of the labels
{error_rates}

{flips}

## Metrics on held-out {held_out_unit}
{method}

The row `all` is every image as it is. In `all, cropped and re-saved` every image is a copy: scaled to a short
side of 224 to 512 pixels where it was larger, saved as JPEG or WebP up to twice, cropped to a square of half to all of
its area, and mirrored half of the time. The other rows are the generators with at least ten tested
images, each against all real images. TPR at 5 % FPR is the share of fake images that are detected when 5 % of the real
images are called fake. The 95 % intervals are over {interval_unit}. C was chosen on the same held-out scores,
and principal components saw all images, without labels: expect slightly worse results on new images.

| generator | fake images | AUROC | TPR at 5 % FPR | TPR at 1 % FPR |
|---|---|---|---|---|
{metrics}

## Limits
- Probabilities are calibrated for as many real as generated images, each source with equal weight, and for images like
  those of the training set. {calibration} New generators, paintings, screenshots and heavily edited photographs can
  differ from all of them.
- `unsure` is a valid answer; use other evidence as well, such as where the image comes from.
- Some real images are labelled `fake`, also on sources that keep the rate.

Settings: {settings}. Versions: {versions}.
{sources}"""

_ERROR_RATES = """{summary}

The thresholds are chosen with 95 % confidence on held-out scores, so that on at least nine of ten held-out sources
at most {fpr:g} % of real images are called fake, and at most {fnr:g} % of generated images are called real: of the
images as they are, and of their cropped and resaved copies. A source is a website, a photographer, a dataset or a
gallery of generated images. Each source in the table below was judged by thresholds that were chosen without it, on its
images and copies together. Most sources have about a dozen images of a class, of which a rate of a few per cent often
shows nothing: look at those with at least {large}, too."""

_NO_SOURCES = """There are too few sources to say anything about new ones. At most {fpr:g} % of held-out clusters have
a real image that is called fake, and at most {fnr:g} % have a generated image that is called real, with 95 % confidence
if there are enough clusters (299 for 1 %)."""

_SOURCES = """
## Held-out sources
Sources with at least {minimum} images of a class, the worst first. Each was judged by a head, and by thresholds, that
were fitted without it. `wrong` counts real images that were called fake, or generated images that were called real: as
they are, and as copies. `right` counts the opposite label; the rest is unsure.

| source | images are | images | wrong | wrong copies | right |
|---|---|---|---|---|---|
{rows}
"""

_METHODS = {
    "sources and generators": "Each image was scored by a head that was trained without its source, its cluster and "
    "its generator\n(fakes whose generator is unknown are held out by source and cluster only).",
    "clusters": "There were too few sources to hold out whole ones: each image was scored by a head that was trained "
    "without its\ncluster, but possibly on its source and its generator. Results on other sources and generators will "
    "be worse.",
}


def write_card(model: ModelInfo, judged: Sequence[SourceErrors], path: Path) -> None:
    """Write the card of a model as Markdown, with the errors on each held-out source."""
    held_out_unit = str(model.settings["left out"])
    fields = model.model_dump(include={"name", "backbone", "weights", "preprocessing", "real_below", "fake_above"})
    text = _CARD.format(
        **fields,
        training_set="\n".join(f"| {key} | {value} |" for key, value in model.trained_on.items()),
        error_rates=_describe_error_rates(model),
        calibration=_describe_calibration(model),
        flips=_describe_flips(model),
        held_out_unit=held_out_unit,
        interval_unit="clusters" if held_out_unit == "clusters" else "sources",
        method=_METHODS[held_out_unit],
        metrics="\n".join(map(_format_row, model.held_out)),
        settings=", ".join(f"{key} {_format_setting(value)}" for key, value in model.settings.items()),
        versions=", ".join(f"{key} {value}" for key, value in model.versions.items()),
        sources=_SOURCES.format(minimum=MIN_SOURCE_IMAGES, rows="\n".join(map(_format_source, judged)))
        if judged
        else "",
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _describe_error_rates(model: ModelInfo) -> str:
    rates = {"fpr": 100 * FALSE_POSITIVE_RATE, "fnr": 100 * FALSE_NEGATIVE_RATE}
    if all(rate is not None and rate.sources for rate in (model.false_positives, model.false_negatives)):
        return _ERROR_RATES.format(summary=describe_error_rates(model), large=LARGE_SOURCE, **rates)
    return _NO_SOURCES.format(**rates)


def _describe_flips(model: ModelInfo) -> str:
    opposite, other = (float(model.settings[f"copies with {which} label"]) for which in ("the opposite", "another"))
    return (
        f"Of held-out images, {100 * opposite:.2g} % are called real and their copy fake, or the other way round; "
        f"{100 * other:.1f} % of the\ncopies have another label, mostly to or from unsure."
    )


def _describe_calibration(model: ModelInfo) -> str:
    median, worst = (model.settings.get(f"{word} calibration error of a source") for word in ("median", "worst"))
    if not isinstance(median, float) or not isinstance(worst, float):
        return ""
    return (
        "The expected calibration error of a source, set against all images of the other class, is "
        f"{median:.2f} in the median and {worst:.2f} at worst, on held-out scores that the calibration was fitted to."
    )


def _format_source(errors: SourceErrors) -> str:
    kind = "generated" if errors.label else "real"
    return f"| {errors.source} | {kind} | {errors.images} | {errors.wrong} | {errors.wrong_copies} | {errors.found} |"


def _format_row(held_out: HeldOut) -> str:
    cells = (
        held_out.generator,
        str(held_out.images),
        _format_interval(held_out.auroc, 3, 1),
        f"{_format_interval(held_out.tpr_at_5, 1, 100)} %",
        f"{_format_interval(held_out.tpr_at_1, 1, 100)} %",
    )
    return f"| {' | '.join(cells)} |"


def _format_interval(estimate: tuple[float, float, float], digits: int, factor: int) -> str:
    value, low, high = (f"{factor * number:.{digits}f}" for number in estimate)
    return f"{value} ({low} to {high})"


def _format_setting(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
