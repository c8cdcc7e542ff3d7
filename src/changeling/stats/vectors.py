"""Lengths and directions of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from changeling.errors import FeatureError

Matrix = NDArray[np.floating[Any]]
MIN_LENGTH = 1e-12  # a feature with no larger entry is taken for zero


def l2_normalize(features: Matrix) -> tuple[Matrix, Matrix]:
    """Rows of features (N, D) at length 1, and their lengths before (N, 1), both of the dtype of `features`.

    A row of zeros stays zero, with the length `MIN_LENGTH`.
    """
    lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), MIN_LENGTH).astype(features.dtype)
    return features / lengths, lengths


def check_finite(features: Matrix, name: str) -> None:
    """Raise FeatureError, with the first row, if a row of `features` (N, D) has a NaN or an infinity.

    `name` says in the message what the rows are.
    """
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise FeatureError(f"row {row} of the {name} is not finite; leave it out, or extract the features again")


def check_directions(features: Matrix, name: str) -> None:
    """Raise FeatureError, with the first row, if a row of `features` (N, D) is not finite or all zeros.

    A zero vector has no direction, and so no cosine: whatever number stood for it would count as a hit or a miss.
    """
    check_finite(features, name)
    is_zero = np.abs(features).max(axis=1, initial=0.0) <= MIN_LENGTH
    if is_zero.any():
        row = int(np.argmax(is_zero))
        raise FeatureError(
            f"row {row} of the {name} is all zeros and has no direction to compare; leave the image or caption out"
        )
