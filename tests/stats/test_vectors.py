"""Directions of features: length 1, and an error for what has none."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from changeling.errors import FeatureError
from changeling.stats.vectors import check_directions, check_finite, l2_normalize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_have_length_1_and_keep_their_dtype(dtype: type[np.floating[Any]]) -> None:
    features: NDArray[np.floating[Any]] = np.array([[3, 4], [0, -2], [0, 0]], dtype=dtype)
    unit, lengths = l2_normalize(features)
    assert unit.dtype == lengths.dtype == dtype
    assert unit == pytest.approx(np.array([[0.6, 0.8], [0, -1], [0, 0]]))
    assert lengths[:2] == pytest.approx(np.array([[5], [2]]))


def test_the_first_bad_row_is_named() -> None:
    features = np.ones((5, 3))
    check_directions(features, "images")
    check_directions(features[:0], "images")
    features[3, 1] = np.nan
    with pytest.raises(FeatureError, match=r"^row 3 of the images is not finite"):
        check_directions(features, "images")
    features[1] = 0
    with pytest.raises(FeatureError, match=r"^row 3 of the images is not finite"):
        check_finite(features, "images")
    features[3] = 1
    check_finite(features, "images")
    with pytest.raises(FeatureError, match=r"^row 1 of the images is all zeros"):
        check_directions(features, "images")
