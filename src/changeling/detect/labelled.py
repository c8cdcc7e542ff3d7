"""Verdicts on images whose truth is known: error rates, ROC curve, and the worst mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Literal, Protocol

import numpy as np

from changeling.detect.detector import Verdict
from changeling.detect.model import Label
from changeling.detect.output import escape_unprintable
from changeling.stats.intervals import auroc_interval, clopper_pearson

Truth = Literal["real", "fake"]
TRUTHS: tuple[Truth, ...] = ("real", "fake")
# names of folders, in lower case, of which every image has one truth: ours, CNNSpot's and GenImage's
FOLDER_TRUTHS: dict[str, Truth] = {
    "real": "real",
    "0_real": "real",
    "nature": "real",
    "fake": "fake",
    "1_fake": "fake",
    "ai": "fake",
}
MIN_IMAGES = 30  # of a class: below, an evaluation says how little it says
MAX_MISTAKES = 20  # that are listed
MAX_NAMES = 20  # of files that are left out


class Judged(Protocol):
    """A verdict on an image whose truth is known."""

    @property
    def truth(self) -> Truth: ...  # noqa: D102

    @property
    def label(self) -> Label | None: ...  # noqa: D102

    @property
    def probability(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledVerdict(Verdict):
    """A verdict, and whether the image is real or fake in truth."""

    truth: Truth


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of images with its exact 95 % interval; None if there are no images."""

    value: float | None
    low: float | None
    high: float | None
    count: int
    images: int


@dataclass(frozen=True, slots=True)
class AreaUnderCurve:
    """The AUROC with its 95 % interval; None if a class is missing."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class RocPoint:
    """Shares of the real and of the fake images that are called fake at one threshold of the probability."""

    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many images of one truth have each label."""

    truth: Truth
    real: int
    fake: int
    unsure: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What verdicts are worth on images whose truth is known.

    Attributes:
        confusion: of real images, then of fake ones.
        accuracy: of the images that were called real or fake, those that were called correctly.
        decided: of the readable images, those that were called real or fake.
        false_positives: of the readable real images, those that were called fake.
        false_negatives: of the readable fake images, those that were called real.
        true_positives: of the readable fake images, those that were called fake.
        auroc: of the probabilities, whatever the labels.
        roc: the curve from (0, 0) to (1, 1), without points on straight lines; empty if a class is missing.
        mistakes: positions of the verdicts that were called the other class, the most confident first.
        notes: sentences on what limits the numbers.
    """

    confusion: tuple[Confusion, ...]
    accuracy: Rate
    decided: Rate
    false_positives: Rate
    false_negatives: Rate
    true_positives: Rate
    auroc: AreaUnderCurve
    roc: tuple[RocPoint, ...]
    mistakes: tuple[int, ...]
    notes: tuple[str, ...]


def find_truth(path: str) -> Truth | None:
    """Return what the nearest folder above a file says of it by its name, or None if no folder does."""
    for folder in reversed(PurePath(path).parts[:-1]):
        if folder.lower() in FOLDER_TRUTHS:
            return FOLDER_TRUTHS[folder.lower()]
    return None


def add_truth(verdict: Verdict) -> LabelledVerdict:
    """Return a verdict with the truth of its path. Raises ValueError if no folder says what the image is."""
    truth = find_truth(verdict.path)
    if truth is None:
        raise ValueError(f"no folder says whether {verdict.path} is real or fake")
    return LabelledVerdict(*(getattr(verdict, field.name) for field in fields(Verdict)), truth=truth)


def evaluate_verdicts(verdicts: Sequence[Judged]) -> Evaluation:
    """Return error rates, ROC curve and mistakes of verdicts. Intervals take the images for independent."""
    labels = Counter((verdict.truth, verdict.label) for verdict in verdicts)
    real, fake = (sum(labels[truth, label] for label in ("real", "fake", "unsure")) for truth in TRUTHS)
    correct = labels["real", "real"] + labels["fake", "fake"]
    wrong = labels["real", "fake"] + labels["fake", "real"]
    auroc, roc = _measure_curve(verdicts)
    return Evaluation(
        confusion=tuple(
            Confusion(truth, *(labels[truth, label] for label in ("real", "fake", "unsure", None))) for truth in TRUTHS
        ),
        accuracy=_measure_rate(correct, correct + wrong),
        decided=_measure_rate(correct + wrong, real + fake),
        false_positives=_measure_rate(labels["real", "fake"], real),
        false_negatives=_measure_rate(labels["fake", "real"], fake),
        true_positives=_measure_rate(labels["fake", "fake"], fake),
        auroc=auroc,
        roc=roc,
        mistakes=_find_mistakes(verdicts),
        notes=tuple(_describe_limits(real, fake)),
    )


def _measure_rate(count: int, images: int) -> Rate:
    if not images:
        return Rate(None, None, None, 0, 0)
    return Rate(count / images, *clopper_pearson(count, images), count, images)


def _measure_curve(verdicts: Sequence[Judged]) -> tuple[AreaUnderCurve, tuple[RocPoint, ...]]:
    """Return the AUROC and the ROC curve of the verdicts that have a probability."""
    pairs = [(verdict.truth == "fake", verdict.probability) for verdict in verdicts if verdict.probability is not None]
    labels = np.array([is_fake for is_fake, _ in pairs], dtype=np.int64)
    if len(set(labels.tolist())) < 2:
        return AreaUnderCurve(None, None, None), ()
    from sklearn.metrics import roc_curve

    scores = np.array([probability for _, probability in pairs], dtype=np.float64)
    area = auroc_interval(labels, scores, np.arange(len(labels)))
    false_positive_rates, true_positive_rates, _ = roc_curve(labels, scores)
    rates = zip(false_positive_rates.tolist(), true_positive_rates.tolist(), strict=True)
    return AreaUnderCurve(area.value, area.low, area.high), tuple(RocPoint(*point) for point in rates)


def _find_mistakes(verdicts: Sequence[Judged]) -> tuple[int, ...]:
    """Return the positions of verdicts that were called the other class, the most confident first."""
    confidence = {
        position: verdict.probability if verdict.label == "fake" else 1 - verdict.probability
        for position, verdict in enumerate(verdicts)
        if verdict.probability is not None and verdict.label in TRUTHS and verdict.label != verdict.truth
    }
    return tuple(sorted(confidence, key=lambda position: (-confidence[position], position)))


def _describe_limits(real: int, fake: int) -> Iterable[str]:
    """Yield sentences on what limits numbers from so many readable images of each truth."""
    for name, count in (("real", real), ("fake", fake)):
        if count == 0:
            yield f"There are no readable {name} images, so only half of the errors can be seen."
        elif count < MIN_IMAGES:
            yield (
                f"{count} {name} {'image says' if count == 1 else 'images say'} little: collect at least {MIN_IMAGES}, "
                "and read the intervals rather than the rates."
            )
    yield (
        "The intervals take the images for independent. Many images of one shoot, one source or one generator are "
        "alike: the intervals are then too narrow, and the rates are those of that source."
    )


def describe_evaluation(evaluation: Evaluation, verdicts: Sequence[LabelledVerdict]) -> str:
    """Return the evaluation of verdicts as lines of text."""
    auroc = evaluation.auroc
    interval = f"95 % interval {_format_share(auroc.low)} to {_format_share(auroc.high)}"
    lines = [
        f"{'':<8}{'called real':>13}{'fake':>8}{'unsure':>8}{'unreadable':>12}",
        *(
            f"{row.truth:<8}{row.real:>13}{row.fake:>8}{row.unsure:>8}{row.unreadable:>12}"
            for row in evaluation.confusion
        ),
        "",
        f"Decided (called real or fake): {_format_rate(evaluation.decided)} images",
        f"Accuracy on decided images: {_format_rate(evaluation.accuracy)}",
        f"False-positive rate (real images called fake): {_format_rate(evaluation.false_positives)}",
        f"False-negative rate (fake images called real): {_format_rate(evaluation.false_negatives)}",
        "AUROC: " + (f"{_format_share(auroc.value)} ({interval})" if auroc.value is not None else "needs both classes"),
        f"Operating point on the ROC curve: {_format_share(evaluation.true_positives.value)} of the fake images found "
        f"at a false-positive rate of {_format_share(evaluation.false_positives.value)}",
        "",
        *_describe_mistakes([verdicts[position] for position in evaluation.mistakes]),
        "",
        *evaluation.notes,
    ]
    return "\n".join(lines)


def _describe_mistakes(mistakes: Sequence[LabelledVerdict]) -> Iterable[str]:
    if not mistakes:
        yield "Mistakes: none."
        return
    yield f"Mistakes, the worst first ({min(len(mistakes), MAX_MISTAKES)} of {len(mistakes)}):"
    for verdict in mistakes[:MAX_MISTAKES]:
        path = escape_unprintable(verdict.path)
        yield f"{verdict.probability:>8.3f}  called {verdict.label}, is {verdict.truth}: {path}"


def describe_unlabelled(paths: Sequence[str]) -> str:
    """Return a sentence on images that are in no folder whose name is a truth."""
    shown = ", ".join(escape_unprintable(path) for path in paths[:MAX_NAMES])
    dots = ", ..." if len(paths) > MAX_NAMES else ""
    return f"{len(paths)} left out, in no folder named {', '.join(FOLDER_TRUTHS)}: {shown}{dots}"


def _format_rate(rate: Rate) -> str:
    if rate.value is None:
        return "none, of 0"
    interval = f"95 % interval {_format_share(rate.low)} to {_format_share(rate.high)}"
    return f"{_format_share(rate.value)} ({interval}), {rate.count} of {rate.images}"


def _format_share(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
