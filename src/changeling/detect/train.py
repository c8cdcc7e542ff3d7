"""Train a linear head on a dataset's features, real and fake treated alike."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.detect.card import write_card
from changeling.detect.held_out import FOLDS, Rows, by_source, judge, splits
from changeling.detect.model import Head, Model, Trained
from changeling.errors import DatasetError
from changeling.features.extract import extract
from changeling.features.store import load_features, store_name
from changeling.images.augmentations import CROPPED_AND_RESAVED, RESAVED
from changeling.progress import Progress, silent
from changeling.stats import metrics
from changeling.stats.calibration import expected_calibration_error, fit_platt
from changeling.stats.metrics import Floats, Ints

CS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
COMPONENTS = 1024  # the head lives in the span of so many principal components
NUISANCE = 1.0  # how much harder it is to use a direction in which real images differ from source to source
FEW = 4  # real images that a source needs to count there
FALSE_ALARMS = 0.05  # share of held-out reals above `fake_above`
MISSES = 0.20  # share of held-out fakes below `real_below`

_Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardised features, projected to principal components: feature (D,) -> (K,), of unit length on average.

    The first `skip` numbers of a feature are left out.
    """

    skip: int
    mean: NDArray[np.float32]
    projection: NDArray[np.float32]  # (D, K), divided by each dimension's deviation

    @classmethod
    def of(cls, features: list[_Matrix], skip: int, seed: int) -> Basis:
        """Fit to all rows of some feature matrices; labels play no part."""
        rows = np.concatenate(features)[:, skip:]
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + np.float32(1e-6)
        rows = np.asarray((rows - mean) / scale, dtype=np.float32)
        count = min(COMPONENTS, *rows.shape)
        pca = PCA(count, svd_solver="randomized", iterated_power=2, random_state=seed).fit(rows)
        directions: _Matrix = pca.components_.T
        length = np.sqrt(((rows @ directions) ** 2).sum(axis=1).mean())
        return cls(skip, mean, np.asarray(directions / scale[:, None] / length, dtype=np.float32))

    def __call__(self, features: _Matrix) -> _Matrix:
        """Features (N, D) -> (N, K)."""
        return np.asarray((features[:, self.skip :] - self.mean) @ self.projection, dtype=np.float32)

    def head(self, weight: Floats, bias: float) -> Head:
        """A linear head on the components, as one on the features themselves."""
        direct = self.projection.astype(np.float64) @ weight
        bias -= float(self.mean.astype(np.float64) @ direct)
        return Head(np.concatenate([np.zeros(self.skip), direct]).astype(np.float32), bias)


def train(
    dataset: Dataset,
    backbone_name: str,
    output: Path,
    *,
    emphasis: Mapping[str, float] = {},
    skip: int = 0,
    seed: int = 0,
    progress: Progress = silent,
) -> Trained:
    """Train a detector on all images of `dataset`, whatever their split, and write it to the folder `output`.

    Besides each image as it is, the head sees a view of it whose size, codec, quality and crop are drawn from one
    distribution for real and fake. C, the calibration and the thresholds come from scores of images whose source
    and generator were left out of training, as they are and re-saved.

    Args:
        emphasis: how much the fakes of a generator count, where that is not 1.
        skip: how many of a feature's first numbers the head leaves out: the early blocks of `@blocks`, say.

    Raises:
        DatasetError: too few real or fake images, or none that could be judged.
        FeatureError: features exist that other weights or images made.
    """
    backbone = registry.load_backbone(backbone_name, progress)
    images, views, resaved, kept = _features(dataset, backbone, progress)
    rows = Rows.of(dataset, kept)
    weights = balance(rows, emphasis)
    basis = Basis.of([images, views], skip, seed)
    parts = basis(images), basis(views), basis(resaved)
    scores = _leave_out(*parts, rows, weights, seed, progress)
    c = max(CS, key=lambda c: sum(_weighted_auroc(rows, some, weights) for some in scores[c]))
    head = basis.head(*fit(parts[0], parts[1], rows, weights, c))
    settings: dict[str, str | int | float] = {"emphasis": _said(emphasis), "skip": skip, "C": c, "seed": seed}
    model = _model(dataset, backbone, head, rows, weights, scores[c], settings, output.name)
    trained = Trained(model, head)
    trained.save(output)
    write_card(model, output / "README.md")
    return trained


def _leave_out(
    images: _Matrix, views: _Matrix, resaved: _Matrix, rows: Rows, weights: Floats, seed: int, progress: Progress
) -> dict[float, tuple[Floats, Floats]]:
    """For each C, scores of the images and of their re-saved copies by heads that saw nothing like them: (N,), (N,).

    NaN where too little was left to train on. Raises DatasetError if that leaves no real or no fake image.
    """
    folds = list(splits(rows, seed))
    judged = {int(label) for _, outside in folds for label in rows.labels[outside]}
    if len(judged) < 2:
        raise DatasetError(
            f"no {'real' if 1 in judged else 'fake'} image can be left out and judged: without it, or without what "
            "shares its source or generator, nothing is left to train on; more sources or generators are needed"
        )
    scores = {c: (np.full(len(images), np.nan), np.full(len(images), np.nan)) for c in CS}
    for done, c in enumerate(CS, start=1):
        for inside, outside in folds:
            weight, bias = fit(images[inside], views[inside], rows.take(inside), weights[inside], c)
            for part, some in zip(scores[c], (images, resaved), strict=True):
                part[outside] = some[outside] @ weight + bias
        progress("leaving sources out", done, len(CS))
    return scores


def _weighted_auroc(rows: Rows, scores: Floats, weights: Floats) -> float:
    """AUROC of the images that were scored, each counting as in training."""
    tested = np.isfinite(scores)
    return float(metrics.weighted_auroc(rows.labels[tested], scores[tested], weights[tested][None])[0])


def fit(images: _Matrix, views: _Matrix, rows: Rows, weights: Floats, c: float) -> tuple[Floats, float]:
    """Weighted L2 logistic regression on the images and their views together: weight (K,) and bias."""
    calm = _calm(images, rows)
    model = LogisticRegression(C=c, max_iter=1000)
    both = np.concatenate([images, views]) @ calm
    model.fit(both, np.tile(rows.labels, 2), sample_weight=np.tile(weights, 2))
    return calm.astype(np.float64) @ model.coef_[0].astype(np.float64), float(model.intercept_[0])


def _calm(images: _Matrix, rows: Rows) -> _Matrix:
    """A map (K, K) that shrinks the directions in which real images differ from source to source.

    What tells one photographer from another tells nothing of being generated (within-class covariance
    normalisation, with the sources of real images as classes).
    """
    size = images.shape[1]
    counts = Counter(rows.sources[rows.labels == 0])
    chosen = [source for source, count in counts.items() if count >= FEW]
    if len(chosen) < 2:
        return np.eye(size, dtype=np.float32)
    means = np.stack([images[(rows.sources == source) & (rows.labels == 0)].mean(axis=0) for source in chosen])
    share = np.sqrt([counts[source] for source in chosen])
    share /= share.sum()
    apart = means - share @ means
    spread = np.eye(size) + NUISANCE * size * (apart * share[:, None]).T @ apart
    values, vectors = np.linalg.eigh(spread)
    return np.asarray(vectors / np.sqrt(values), dtype=np.float32)


def balance(rows: Rows, emphasis: Mapping[str, float] = {}) -> Floats:
    """A weight for each image (N,): both classes weigh the same, and so do all sources of a class. Mean 1.

    A fake by a generator in `emphasis` counts as many times.
    """
    atoms = list(zip(rows.labels, rows.sources, strict=True))
    counts = Counter(atoms)
    weights = np.array([1.0 / counts[atom] for atom in atoms])
    weights *= [emphasis.get(name, 1.0) for name in rows.generators]
    for label in (0, 1):
        weights[rows.labels == label] *= 0.5 * len(weights) / weights[rows.labels == label].sum()
    return weights


def _said(emphasis: Mapping[str, float]) -> str:
    return "; ".join(f"{name} x {factor:g}" for name, factor in sorted(emphasis.items())) or "none"


def _features(dataset: Dataset, backbone: Backbone, progress: Progress) -> tuple[_Matrix, _Matrix, _Matrix, Ints]:
    """Features of the images, of drawn views and of re-saved copies, and the rows that all of them have."""
    found = []
    for view in (None, CROPPED_AND_RESAVED, RESAVED):
        extract(dataset, backbone, view=view, progress=progress)
        found.append(load_features(dataset, store_name(backbone.name, view.name if view else "")))
    kept = np.flatnonzero(np.all([one.valid for one in found], axis=0))
    images, views, resaved = (one.values[kept] for one in found)
    return images, views, resaved, kept


def _model(
    dataset: Dataset,
    backbone: Backbone,
    head: Head,
    rows: Rows,
    weights: Floats,
    scores: tuple[Floats, Floats],
    settings: Mapping[str, str | int | float],
    name: str,
) -> Model:
    """Calibrate and judge held-out scores, and say what the head is."""
    both, labels = np.concatenate(scores), np.tile(rows.labels, 2)
    tested = np.isfinite(both)
    platt = fit_platt(both[tested], labels[tested], np.tile(weights, 2)[tested])
    reals, fakes = (platt(both[tested & (labels == label)]) for label in (0, 1))
    fake_above = metrics.threshold_at(reals, FALSE_ALARMS)
    real_below = min(-metrics.threshold_at(-fakes, MISSES), fake_above)
    packages = ("changeling", "numpy", "onnxruntime", "scikit-learn")
    return Model(
        name=name,
        backbone=backbone.name,
        weights=backbone.weights,
        preprocessing=backbone.preprocessing.hash,
        head=head.hash,
        slope=platt.slope,
        bias=platt.bias,
        real_below=real_below,
        fake_above=fake_above,
        trained_on={
            "dataset": dataset.path.absolute().name,
            "hash": dataset.hash,
            "real images": int((rows.labels == 0).sum()),
            "fake images": int(rows.labels.sum()),
            "sources": len(set(rows.sources)),
            "generators": len(set(rows.generators) - {None}),
        },
        settings={
            "folds": FOLDS,
            "principal components": COMPONENTS,
            "nuisance": NUISANCE,
            "left out": "sources and generators" if by_source(rows) else "clusters",
            "held-out reals called fake": float((reals > fake_above).mean()),
            "held-out fakes called real": float((fakes < real_below).mean()),
            "calibration error": expected_calibration_error(labels[tested], platt(both[tested])),
            **settings,
        },
        held_out=tuple(judge(rows, *scores, int(settings["seed"]))),
        versions={"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages},
    )
