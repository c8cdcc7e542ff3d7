"""The tables of the experiment `crossgen`: train x test, left-out generators, chronological order, differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations

import numpy as np

from changeling.experiments.generator_probes import Score, compare_means
from changeling.experiments.learning_curve import LearningCurve
from changeling.experiments.reporting import describe_multiplicity, format_p_value, make_estimate
from changeling.results.format import P_VALUE_LABEL
from changeling.results.result import Column, Estimate, Row, Table
from changeling.stats.intervals import statistic_interval
from changeling.stats.multiplicity import holm_adjusted, interval_p_value

Scores = dict[str, Score]


@dataclass(frozen=True, slots=True)
class BackboneScores:
    """The scores of one backbone's probes on the test split, by the generator tested on.

    Attributes:
        pairs: of probes for one generator, by the one trained on and then the one tested on.
        seen: of the probe for all generators.
        left_out: of the probe for all generators but the one tested on.
        next: of the probe for all generators that were released before the one tested on.
        curve: the learning curve.
        validation: mean AUROC on the validation split of the probes for one generator, each on its own.
    """

    curve: LearningCurve
    validation: float
    pairs: dict[str, Scores] = field(default_factory=dict)
    seen: Scores = field(default_factory=dict)
    left_out: Scores = field(default_factory=dict)
    next: Scores = field(default_factory=dict)

    def list_own(self) -> list[Score]:
        """Return the scores on the generator that a probe was trained on."""
        return [scores[name] for name, scores in self.pairs.items()]

    def list_foreign(self) -> list[Score]:
        """Return the scores on another generator than the one that a probe was trained on."""
        return [score for name, scores in self.pairs.items() for tested, score in scores.items() if tested != name]


def build_gap_table(backbones: Mapping[str, BackboneScores]) -> Table:
    """Return the table of mean AUROCs by what a probe was trained on, with paired differences."""
    rows = []
    for name, scores in backbones.items():
        own, foreign, left_out = scores.list_own(), scores.list_foreign(), list(scores.left_out.values())
        means = {"own": own, "foreign": foreign, "left_out": left_out}
        cells = {key: make_estimate(compare_means(some), 0.5) for key, some in means.items()}
        cells |= {f"own-{key}": make_estimate(compare_means(own, means[key])) for key in ("foreign", "left_out")}
        rows.append(Row(labels={"Backbone": name}, cells=cells))
    auroc, lost = "AUROC", "Difference"
    return Table(
        key="crossgen",
        title="Mean AUROC over the generators tested on",
        labels=("Backbone",),
        columns=(
            Column(key="own", label="Trained on it", group=auroc, chance=0.5),
            Column(key="foreign", label="Trained on another", group=auroc, chance=0.5),
            Column(key="left_out", label="Trained on all others", group=auroc, chance=0.5),
            Column(key="own-foreign", label="Lost with another", group=lost, better="low"),
            Column(key="own-left_out", label="Lost with all others", group=lost, better="low"),
        ),
        rows=tuple(rows),
        note="Each probe tells the children of a generator from real images. Lost: the paired difference of the mean "
        "AUROCs on the same test images, in percentage points. An interval without 0 is evidence of a difference.",
    )


def build_matrices(backbones: Mapping[str, BackboneScores]) -> Iterator[Table]:
    """Yield the tables of generators trained on by generators tested on: AUROC, and balanced accuracy."""

    def get_auroc(score: Score) -> Estimate:
        return make_estimate(statistic_interval(score.auroc), 0.5)

    def get_balanced(score: Score) -> Estimate:
        return make_estimate(score.balanced, 0.5)

    yield _build_matrix(backbones, "crossgen-auroc", "AUROC", get_auroc)
    yield _build_matrix(backbones, "crossgen-balanced", "Balanced accuracy", get_balanced)


def _build_matrix(
    backbones: Mapping[str, BackboneScores], key: str, metric: str, get: Callable[[Score], Estimate]
) -> Table:
    rows = [
        Row(
            labels={"Backbone": backbone, "Trained on": trained},
            cells={tested: get(score) for tested, score in tested_scores.items()},
        )
        for backbone, scores in backbones.items()
        for trained, tested_scores in scores.pairs.items()
    ]
    return Table(
        key=key,
        title=f"{metric} of a probe trained on one generator and tested on another",
        labels=("Backbone", "Trained on"),
        columns=tuple(
            Column(key=tested, label=tested, group="Tested on", chance=0.5, better="none", shaded=True)
            for tested in rows[0].cells
        ),
        rows=tuple(rows),
        note="The darker, the higher. Rows: the generator whose children the probe is trained on. Columns: the one "
        "whose children it is tested on.",
    )


def build_left_out_table(backbones: Mapping[str, BackboneScores]) -> Table:
    """Return the table of generators that a probe has seen in training, and has not."""
    rows = [
        Row(
            labels={"Generator": name, "Backbone": backbone},
            cells={
                "seen_auroc": make_estimate(statistic_interval(scores.seen[name].auroc), 0.5),
                "seen_balanced": make_estimate(scores.seen[name].balanced, 0.5),
                "left_out_auroc": make_estimate(statistic_interval(scores.left_out[name].auroc), 0.5),
                "left_out_balanced": make_estimate(scores.left_out[name].balanced, 0.5),
                "lost": make_estimate(compare_means([scores.seen[name]], [scores.left_out[name]])),
            },
        )
        for name in next(iter(backbones.values())).seen
        for backbone, scores in backbones.items()
    ]
    groups = {"seen": "Trained on all generators", "left_out": "Trained on all others"}
    metrics = {"auroc": "AUROC", "balanced": "Balanced"}
    return Table(
        key="crossgen-left-out",
        title="Leave one generator out",
        labels=("Generator", "Backbone"),
        columns=(
            *(
                Column(key=f"{key}_{metric}", label=label, group=group, chance=0.5)
                for key, group in groups.items()
                for metric, label in metrics.items()
            ),
            Column(key="lost", label="Lost AUROC", group="Difference", better="low"),
        ),
        rows=tuple(rows),
        note="The probe on the left was trained on all generators of the dataset, the one on the right on all except "
        "the one tested on. Lost: the paired difference of the AUROCs, in percentage points.",
    )


def build_chronological_table(
    backbones: Mapping[str, BackboneScores], released: Mapping[str, date], older: Mapping[str, Sequence[str]]
) -> Iterator[Table]:
    """Yield the table of generators by release date, each tested by a probe for the older ones; none if it is empty.

    Args:
        older: the generators that were released before each.
    """
    rows = [
        Row(
            labels={
                "Generator": name,
                "Released": released[name].isoformat(),
                "Trained on": f"{len(older[name])} until {max(released[other] for other in older[name]).isoformat()}",
                "Backbone": backbone,
            },
            cells={
                "auroc": make_estimate(statistic_interval(scores.next[name].auroc), 0.5),
                "balanced": make_estimate(scores.next[name].balanced, 0.5),
            },
        )
        for name in next(iter(backbones.values())).next
        for backbone, scores in backbones.items()
    ]
    if rows:
        yield Table(
            key="crossgen-chronological",
            title="Chronological order: trained on the past, tested on the next generator",
            labels=("Generator", "Released", "Trained on", "Backbone"),
            columns=(
                Column(key="auroc", label="AUROC", group="Test", chance=0.5),
                Column(key="balanced", label="Balanced", group="Test", chance=0.5),
            ),
            rows=tuple(rows),
            note="Each generator is tested by a probe that was trained on all generators of the dataset that were "
            "released before it: their number, and the date of the newest.",
        )


def build_difference_table(backbones: Mapping[str, BackboneScores]) -> Table:
    """Return the table of paired differences between backbones, and between generators, on left-out generators."""
    groups: list[tuple[str, dict[str, list[Score]]]] = [
        ("backbones", {name: list(scores.left_out.values()) for name, scores in backbones.items()}),
        (
            "generators",
            {
                name: [scores.left_out[name] for scores in backbones.values()]
                for name in next(iter(backbones.values())).left_out
            },
        ),
    ]
    differences = {
        (group, f"{first} minus {second}"): compare_means(scores[first], scores[second])
        for group, scores in groups
        for first, second in combinations(scores, 2)
    }
    p_values = holm_adjusted(np.array([interval_p_value(difference) for difference in differences.values()]))
    rows = [
        Row(
            labels={"Between": group, "Difference": pair, P_VALUE_LABEL: format_p_value(p_value)},
            cells={"difference": make_estimate(difference)},
        )
        for ((group, pair), difference), p_value in zip(differences.items(), p_values, strict=True)
    ]
    return Table(
        key="crossgen-differences",
        title="Differences in AUROC on a generator that was left out of training",
        labels=("Between", "Difference", P_VALUE_LABEL),
        columns=(Column(key="difference", label="Difference of AUROC", better="none"),),
        rows=tuple(rows),
        note="Paired differences on the same real images, in percentage points: of backbones, on the mean over "
        "left-out generators; of generators, on the mean over backbones. "
        + describe_multiplicity(list(differences.values()), p_values),
    )
