"""The model card: what a detector is, how it did on what it was not trained on, and what it does not prove."""

from __future__ import annotations

from pathlib import Path

from changeling.detect.model import Model
from changeling.files import atomic_write

_CARD = """# {name}

A linear head on `{backbone}` features that gives an image's probability of being generated.

| | |
|---|---|
| backbone weights | `{weights}` |
| preprocessing | `{preprocessing}` |
{trained}
| called real | below {real_below:.3f} ({misses:.1%} of held-out fakes are) |
| called fake | above {fake_above:.3f} ({alarms:.1%} of held-out real images are) |

## On {left_out} left out of training
{how}

`all` is every image as it is. `all, re-saved` is every image scaled to a short side of 224 to 512 pixels where it is
larger, and saved as JPEG or WebP up to two times. Then follows each generator with ten images or more, against all
real images. Found at 5 %: share of the fakes found when 5 % of the held-out real images are called fake. 95 %
intervals are from a bootstrap over clusters. C and the thresholds were chosen on these very scores, so expect a
little less.

| fakes by | images | AUROC | found at 5 % | found at 1 % |
|---|---|---|---|---|
{held_out}

## What it does not prove
- A probability is calibrated as if an image were as likely real as generated before one looks (expected calibration
  error on held-out images: {error:.3f}), and is about images like those it was trained on. A new generator, a
  painting, a screenshot, a heavily edited photograph can be far from all of them.
- `unsure` is an answer. So is asking where a picture comes from.
- A share of real images is called fake, by design: the table says how large it was on held-out ones.

Settings: {settings}. Versions: {versions}.
"""


_HOW = {
    "sources and generators": "Each image was scored by a head that saw no image of its source, none of its cluster, "
    "and no fake by any\ngenerator (if known) that made a fake of its part of the sources.",
    "clusters": "There were too few sources to leave whole ones out, so each image was scored by a head that saw no "
    "image of its\ncluster, but may have seen its source and its generator: on others it will do worse.",
}


def write_card(model: Model, path: Path) -> None:
    """Write the card of a model as Markdown."""
    held_out = "\n".join(
        f"| {held.generator} | {held.images} | {_interval(held.auroc, 3, 1)} | "
        f"{_interval(held.found_at_5, 1, 100)} % | {_interval(held.found_at_1, 1, 100)} % |"
        for held in model.held_out
    )
    facts = model.model_dump(include={"name", "backbone", "weights", "preprocessing", "real_below", "fake_above"})
    text = _CARD.format(
        **facts,
        trained="\n".join(f"| {key} | {value} |" for key, value in model.trained_on.items()),
        misses=model.settings["held-out fakes called real"],
        alarms=model.settings["held-out reals called fake"],
        error=model.settings["calibration error"],
        left_out=model.settings["left out"],
        how=_HOW[str(model.settings["left out"])],
        held_out=held_out,
        settings=", ".join(f"{key} {_short(value)}" for key, value in model.settings.items()),
        versions=", ".join(f"{key} {value}" for key, value in model.versions.items()),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _interval(numbers: tuple[float, float, float], digits: int, factor: int) -> str:
    value, low, high = (f"{factor * number:.{digits}f}" for number in numbers)
    return f"{value} ({low} to {high})"


def _short(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
