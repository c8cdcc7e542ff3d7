"""Plots of the training of S and T: their singular values, and their losses by step."""

from __future__ import annotations

import numpy as np

from changeling.experiments.projections import Projection
from changeling.results.result import Curve, Plot

_DRAWN_LOSSES = 200  # points of a curve


def plot_training(of: str, projections: dict[str, Projection]) -> list[Plot]:
    """Return a plot of the singular values and one of the losses by step, with a curve for each projection.

    Args:
        of: the generator and backbone, for the titles.
        projections: S and T, by name.
    """
    spectra = {name: np.linalg.svd(one.weight, compute_uv=False) for name, one in projections.items()}
    return [
        Plot(
            title="Singular values",
            of=of,
            x_label="rank",
            y_label="relative to the largest",
            y_log=True,
            curves=tuple(
                Curve(name=name, x=tuple(range(1, len(spectrum) + 1)), y=tuple((spectrum / spectrum[0]).tolist()))
                for name, spectrum in spectra.items()
            ),
            note="A probe can rescale directions that S shrinks but does not set to zero.",
        ),
        Plot(
            title="Training loss",
            of=of,
            x_label="step",
            y_label="loss",
            curves=tuple(curve for name, one in projections.items() for curve in _draw_losses(name, one)),
            note="The bound is the lowest loss that any points can have on a batch of average size.",
        ),
    ]


def _draw_losses(name: str, projection: Projection) -> tuple[Curve, Curve]:
    """Return the curve of the losses, averaged over at most `_DRAWN_LOSSES` blocks of steps, and its bound."""
    steps = len(projection.losses)
    blocks = np.array_split(np.array(projection.losses), min(steps, _DRAWN_LOSSES))
    ends = np.cumsum([len(block) for block in blocks])
    return (
        Curve(name=name, x=tuple(ends.tolist()), y=tuple(float(block.mean()) for block in blocks)),
        Curve(name=f"bound of {name}", x=(1, steps), y=(projection.bound, projection.bound)),
    )
