"""The null of every leaderboard: what a classifier scores that sees the files, and no pixel (see `confounds`).

It is trained on the evaluated images themselves, in five folds of clusters, so it knows more of them than a detector.
"""

from __future__ import annotations

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.evaluation.conditions import CLEAN
from changeling.evaluation.evaluation import DetectorScores
from changeling.evaluation.scoring import Scores
from changeling.experiments.file_classifier import cross_fit_probabilities, read_rows
from changeling.progress import Progress, silent
from changeling.stats.metrics import Ints

NULL_NAME = "file properties only"


def score_file_properties(dataset: Dataset, rows: Ints, seed: int = 0, progress: Progress = silent) -> DetectorScores:
    """Return the cross-fitted scores of the unchanged files; a failure if there are too few that can be read."""
    file_features, is_read = read_rows(dataset, rows, progress)
    read = rows[is_read]
    values = np.full(len(rows), np.nan)
    try:
        values[is_read] = cross_fit_probabilities(
            file_features[is_read], dataset.labels[read], dataset.clusters[read], seed
        )
    except DatasetError as error:
        return DetectorScores(NULL_NAME, failure=str(error))
    labels = np.full(len(rows), None, dtype=object)
    return DetectorScores(NULL_NAME, {CLEAN.name: Scores(values, labels, [], 0.0, are_probabilities=True)})
