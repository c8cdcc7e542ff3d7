"""The summary of Table 4: what S and T change, or that the data cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from changeling.experiments.projection_evaluation import RAW, Evaluation, list_unconverged
from changeling.results.format import format_count, format_label, format_percent
from changeling.results.result import Estimate, Row
from changeling.stats.intervals import Interval


def summarise_changes(rows: Sequence[Row], evaluations: Sequence[Evaluation]) -> str:
    """Summarise the first generator and backbone with test images."""
    tested = [row for row in rows if "test_overall" in row.cells]
    if not tested:
        return "S and T were trained, but the test split lacks clusters to evaluate them on."
    evaluation = next(one for one in evaluations if tested[0] in one.rows)
    for sentence in list_unconverged(evaluation):
        return sentence
    generator, backbone = tested[0].labels["Generator"], tested[0].labels["Backbone"]
    cells = {
        row.labels["Features"]: row.cells
        for row in tested
        if (row.labels["Generator"], row.labels["Backbone"]) == (generator, backbone)
    }
    changes = evaluation.changes
    overall, distance = changes[generator, "S", "test_overall"], changes.get((generator, "T", "test_max"))
    accuracy = f"the accuracy of a linear probe on {format_count(overall.images, 'test image', 'test images')}"
    on_s = _describe_change("S", accuracy, cells[RAW]["test_overall"], cells["S"]["test_overall"], overall)
    start = f"On {backbone} features ({format_label(generator)}), {on_s}"
    if distance is None:
        return f"{start} Distances cannot be compared, because no test cluster has a parent and two children."
    clusters = format_count(distance.clusters, "test cluster", "test clusters")
    share = f"the share of {clusters} in which the parent is the farthest from the other images"
    in_t = _describe_change("T", share, cells[RAW]["test_max"], cells["T"]["test_max"], distance)
    return f"{start} {in_t[:1].upper()}{in_t[1:]}"


def _describe_change(name: str, measure: str, before: Estimate, after: Estimate, change: Interval) -> str:
    """Return a sentence that says whether a projection raises or lowers a measure, or that the data cannot tell."""
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (change.low, change.high))
    values = (
        f"{format_percent(before.value)} before, {format_percent(after.value)} after (95 % interval of the change: "
        f"{low} to {high} points)"
    )
    if change.low <= 0 <= change.high:
        return f"the data cannot tell whether {name} changes {measure}: {values}."
    return f"{name} {'raises' if change.low > 0 else 'lowers'} {measure}: {values}."
