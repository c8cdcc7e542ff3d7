"""Fit the linear head: principal components, within-class covariance normalisation and logistic regression."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from changeling.detect.model import Head
from changeling.detect.training_set import ImageRows, Matrix, TrainingFeatures
from changeling.stats.metrics import Floats

COMPONENTS = 1024  # principal components, at most
WCCN_STRENGTH = 1.0  # how strongly directions in which real images differ between sources are shrunk
MIN_MEAN_IMAGES = 4  # real images that the mean of a source needs


@dataclass(frozen=True, slots=True)
class Projection:
    """Standardisation and projection to K principal components, scaled to a root mean square length of 1.

    The first `skipped_dims` dimensions of a feature are ignored.
    """

    skipped_dims: int
    mean: NDArray[np.float32]
    components: NDArray[np.float32]  # (D - skipped_dims, K), divided by the standard deviation of each dimension

    @classmethod
    def fit(cls, matrices: list[Matrix], skipped_dims: int, seed: int) -> Projection:
        """Fit to all rows of several feature matrices (N, D), without labels."""
        rows = np.concatenate(matrices)[:, skipped_dims:]
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + np.float32(1e-6)
        rows = np.asarray((rows - mean) / scale, dtype=np.float32)
        count = min(COMPONENTS, *rows.shape)
        pca = PCA(count, svd_solver="randomized", iterated_power=2, random_state=seed).fit(rows)
        directions: Matrix = pca.components_.T
        length = np.sqrt(((rows @ directions) ** 2).sum(axis=1).mean())
        return cls(skipped_dims, mean, np.asarray(directions / scale[:, None] / length, dtype=np.float32))

    def transform(self, features: Matrix) -> Matrix:
        """Project features (N, D) to (N, K)."""
        return np.asarray((features[:, self.skipped_dims :] - self.mean) @ self.components, dtype=np.float32)

    def transform_all(self, features: TrainingFeatures) -> TrainingFeatures:
        """Project both forms of the features."""
        return TrainingFeatures(*map(self.transform, (features.images, features.copies)))

    def convert_head(self, weight: Floats, bias: float) -> Head:
        """Return a linear head on the components (K,) as a head on the features (D,)."""
        direct = self.components.astype(np.float64) @ weight
        bias -= float(self.mean.astype(np.float64) @ direct)
        return Head(np.concatenate([np.zeros(self.skipped_dims), direct]).astype(np.float32), bias)


def fit_logistic_regression(
    images: Matrix, augmented: Matrix, rows: ImageRows, weights: Floats, c: float
) -> tuple[Floats, float]:
    """Fit a weighted L2 logistic regression to images and augmented images (N, K) together.

    Returns its weight (K,) and its bias. `c` is the inverse of the regularisation strength, as in scikit-learn.
    """
    wccn = compute_wccn(images, rows)
    classifier = LogisticRegression(C=c, max_iter=1000)
    normalised = np.concatenate([images, augmented]) @ wccn
    classifier.fit(normalised, np.tile(rows.labels, 2), sample_weight=np.tile(weights, 2))
    return wccn.astype(np.float64) @ classifier.coef_[0].astype(np.float64), float(classifier.intercept_[0])


def compute_wccn(images: Matrix, rows: ImageRows) -> Matrix:
    """Return a matrix (K, K) that shrinks the directions in which real images differ between sources.

    Those differences say nothing about being generated. This follows within-class covariance normalisation (WCCN),
    but shrinks the covariance between the mean images of the sources. With fewer than two sources of at least
    MIN_MEAN_IMAGES real images it is the identity.
    """
    size = images.shape[1]
    counts = Counter(rows.sources[rows.labels == 0])
    sources = [source for source, count in counts.items() if count >= MIN_MEAN_IMAGES]
    if len(sources) < 2:
        return np.eye(size, dtype=np.float32)
    means = np.stack([images[(rows.sources == source) & (rows.labels == 0)].mean(axis=0) for source in sources])
    shares = np.sqrt([counts[source] for source in sources])
    shares /= shares.sum()
    deviations = means - shares @ means
    covariance = np.eye(size) + WCCN_STRENGTH * size * (deviations * shares[:, None]).T @ deviations
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return np.asarray(eigenvectors / np.sqrt(eigenvalues), dtype=np.float32)
