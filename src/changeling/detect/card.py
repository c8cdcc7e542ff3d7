"""The model card: a detector's training set, its metrics on held-out images, and its limits."""

from __future__ import annotations

from pathlib import Path

from changeling.detect.model import HeldOut, ModelInfo
from changeling.files import atomic_write

_CARD = """# {name}

A linear head on `{backbone}` features. It returns the probability that an image is generated.

| | |
|---|---|
| backbone weights | `{weights}` |
| preprocessing | `{preprocessing}` |
{training_set}
| label `real` | below {real_below:.3f} ({miss_rate:.1%} of held-out fake images) |
| label `fake` | above {fake_above:.3f} ({false_alarm_rate:.1%} of held-out real images) |

## Metrics on held-out {held_out_unit}
{method}

The row `all` is every image as it is. In `all, re-saved` every image was scaled to a short side of 224 to 512 pixels
where it was larger, and saved as JPEG or WebP up to twice. The other rows are the generators with at least ten tested
images, each against all real images. TPR at 5 % FPR is the share of fake images that are detected when 5 % of the real
images are called fake. The 95 % intervals are bootstrapped over clusters. C and the thresholds were chosen on the same
held-out scores, so expect slightly worse results on new images.

| generator | fake images | AUROC | TPR at 5 % FPR | TPR at 1 % FPR |
|---|---|---|---|---|
{metrics}

## Limits
- Probabilities are calibrated for as many real as generated images (expected calibration error on held-out images:
  {calibration_error:.3f}), and for images like those of the training set. New generators, paintings, screenshots and
  heavily edited photographs can differ from all of them.
- `unsure` is a valid answer; use other evidence as well, such as where the image comes from.
- Some real images are labelled `fake`; the table above gives the rate on held-out images.

Settings: {settings}. Versions: {versions}.
"""


_METHODS = {
    "sources and generators": "Each image was scored by a head that was trained without its source, its cluster and "
    "its generator\n(fakes whose generator is unknown are held out by source and cluster only).",
    "clusters": "There were too few sources to hold out whole ones: each image was scored by a head that was trained "
    "without its\ncluster, but possibly on its source and its generator. Results on other sources and generators will "
    "be worse.",
}


def write_card(model: ModelInfo, path: Path) -> None:
    """Write the card of a model as Markdown."""
    held_out_unit = str(model.settings["left out"])
    fields = model.model_dump(include={"name", "backbone", "weights", "preprocessing", "real_below", "fake_above"})
    text = _CARD.format(
        **fields,
        training_set="\n".join(f"| {key} | {value} |" for key, value in model.trained_on.items()),
        miss_rate=model.settings["held-out fakes called real"],
        false_alarm_rate=model.settings["held-out reals called fake"],
        calibration_error=model.settings["calibration error"],
        held_out_unit=held_out_unit,
        method=_METHODS[held_out_unit],
        metrics="\n".join(map(_format_row, model.held_out)),
        settings=", ".join(f"{key} {_format_setting(value)}" for key, value in model.settings.items()),
        versions=", ".join(f"{key} {value}" for key, value in model.versions.items()),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
