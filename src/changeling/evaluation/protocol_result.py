"""The Result of an evaluation by a protocol: its metrics, its table of subsets, and what differs from it."""

from __future__ import annotations

from changeling.evaluation.evaluate import EvaluationSettings
from changeling.evaluation.evaluation import Evaluation
from changeling.evaluation.expected_dataset import list_differences
from changeling.evaluation.measures import METRICS
from changeling.evaluation.protocol import Protocol, ThresholdSettings
from changeling.evaluation.protocol_conditions import build_conditions
from changeling.evaluation.result import describe_evaluation
from changeling.evaluation.subsets import SubsetSettings, build_subset_table
from changeling.evaluation.thresholds import ValidationThreshold
from changeling.results.format import format_percent
from changeling.results.result import Result


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
        metrics=[metric for metric in METRICS if metric.key in protocol.metrics],
        validation_threshold=None if rate is None else ValidationThreshold(rate, threshold.split),
    )


def describe_protocol_evaluation(evaluation: Evaluation, settings: EvaluationSettings, protocol: Protocol) -> Result:
    """Return the Result. Its numbers are the same for the same protocol, images and scores, on every machine."""
    result = describe_evaluation(evaluation, settings)
    subsets = SubsetSettings(protocol.subset_metrics, protocol.generators, protocol.real_sources)
    tables = [*result.tables]
    if protocol.subset_metrics and evaluation.finished:
        tables.append(build_subset_table(evaluation, subsets))
    differences = list_differences(protocol, evaluation)
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


def _describe_threshold(threshold: ThresholdSettings) -> str | float:
    if threshold.false_positive_rate is not None:
        share = format_percent(threshold.false_positive_rate)
        return f"what {share} of the real images of {threshold.split} exceed"
    return "the detector's own, or 0.5" if threshold.value is None else threshold.value
