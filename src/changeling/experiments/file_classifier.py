"""A classifier that sees the properties of image files, and no pixel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from changeling.datasets.dataset import Dataset
from changeling.engine import count_decoding_threads
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import read_file
from changeling.images.file_features import FILE_FEATURES, read_file_features
from changeling.progress import Progress

TREES, LEAVES, MIN_LEAF_FILES = 100, 15, 5
FOLDS = 5
_READ_AHEAD = 1024  # files in the queue of the readers
FileFeatures = NDArray[np.float32]


def read_rows(dataset: Dataset, rows: NDArray[np.int64], progress: Progress) -> tuple[FileFeatures, NDArray[np.bool_]]:
    """Return the file features of each row (N, len(FILE_FEATURES)), and whether its file could be read (N,)."""
    paths = dataset.column("path")
    file_features = np.zeros((len(rows), len(FILE_FEATURES)), np.float32)
    is_read = np.zeros(len(rows), dtype=np.bool_)

    def read(place: int) -> None:
        try:
            file_features[place] = read_file_features(read_file(dataset.resolve_path(paths[rows[place]])))
            is_read[place] = True
        except ImageError:  # missing or broken since the import; `audit` reports it
            pass

    with ThreadPoolExecutor(count_decoding_threads()) as pool:
        for start in range(0, len(rows), _READ_AHEAD):
            stop = min(start + _READ_AHEAD, len(rows))
            list(pool.map(read, range(start, stop)))
            progress("file properties", stop, len(rows))
    return file_features, is_read


def build_trees(seed: int) -> HistGradientBoostingClassifier:
    """Return the classifier, not trained yet."""
    return HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=MIN_LEAF_FILES,
        early_stopping=False,
        class_weight="balanced",
        random_state=seed,
    )


def cross_fit_probabilities(
    file_features: FileFeatures, labels: NDArray[np.int64], clusters: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return the probability (N,) of each image to be fake, by a classifier that was trained without its fold.

    The images of a cluster are in one of FOLDS folds.

    Raises:
        DatasetError: fewer than FOLDS clusters have a real image, or a fake one.
    """
    if min(len(np.unique(clusters[labels == label])) for label in (0, 1)) < FOLDS:
        raise DatasetError(f"a classifier of files needs real and fake images in at least {FOLDS} clusters")
    probabilities = np.full(len(labels), np.nan)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # more threads wait for each other on a busy machine
        for train, test in folds.split(file_features, labels, clusters):
            trees = build_trees(seed).fit(file_features[train], labels[train])
            probabilities[test] = trees.predict_proba(file_features[test])[:, 1]
    return probabilities
