"""The Result of an evaluation by a protocol: its metrics, its table of subsets, and what differs from it."""

from __future__ import annotations

from changeling.evaluation.evaluate import EvaluationSettings
from changeling.evaluation.evaluation import Evaluation
from changeling.evaluation.expected_dataset import describe_rows, list_differences
from changeling.evaluation.protocol import Protocol, ThresholdSettings
from changeling.evaluation.protocol_conditions import build_conditions
from changeling.evaluation.result import describe_evaluation
from changeling.evaluation.subsets import SubsetSettings, build_subset_table
from changeling.evaluation.thresholds import ValidationThreshold
from changeling.results.format import format_percent
from changeling.results.result import Result, Table


def build_settings(protocol: Protocol, timeout: float) -> EvaluationSettings:
    """Return what a protocol evaluates; a batch of images may take a program or service `timeout` seconds."""
    threshold = protocol.threshold
    rate = threshold.false_positive_rate
    return EvaluationSettings(
        split=protocol.split,
        conditions=build_conditions(protocol.conditions, protocol.preprocessing, protocol.transformations),
        threshold=threshold.value,
        timeout=timeout,
        seed=protocol.seed,
        validation_threshold=None if rate is None else ValidationThreshold(rate, threshold.split),
    )


def describe_protocol_evaluation(evaluation: Evaluation, settings: EvaluationSettings, protocol: Protocol) -> Result:
    """Return the Result. Its numbers are the same for the same protocol, images and scores, on every machine."""
    result = describe_evaluation(evaluation, settings)
    subsets = SubsetSettings(protocol.subset_metrics, protocol.generators, protocol.real_sources)
    tables = [_select_metrics(table, protocol) for table in result.tables]
    if protocol.subset_metrics and evaluation.finished:
        tables.append(build_subset_table(evaluation, subsets))
    differences = list_differences(protocol, describe_rows(evaluation.dataset, evaluation.rows))
    about: dict[str, str | float] = {"protocol": protocol.name, "protocol, hash": protocol.hash}
    about |= {"protocol, source": protocol.source} if protocol.source else {}
    about |= {"detectors are trained on": protocol.training} if protocol.training else {}
    about |= {"preprocessing": protocol.preprocessing, "threshold": _describe_threshold(protocol.threshold)}
    return result.model_copy(
        update={
            "tables": tuple(tables),
            "settings": result.settings | about,
            "notes": (*(f"Differs from the protocol: {text}" for text in differences), *result.notes),
        }
    )


def _select_metrics(table: Table, protocol: Protocol) -> Table:
    """Return the table of all metrics with the columns of the protocol; any other table as it is."""
    if table.key != "detector_metrics":
        return table
    columns = tuple(column for column in table.columns if column.key in protocol.metrics)
    keys = {column.key for column in columns}
    rows = tuple(
        row.model_copy(update={"cells": {key: cell for key, cell in row.cells.items() if key in keys}})
        for row in table.rows
    )
    return table.model_copy(update={"columns": columns, "rows": rows})


def _describe_threshold(threshold: ThresholdSettings) -> str | float:
    if threshold.false_positive_rate is not None:
        share = format_percent(threshold.false_positive_rate)
        return f"what {share} of the real images of {threshold.split} exceed"
    return "the detector's own, or 0.5" if threshold.value is None else threshold.value
