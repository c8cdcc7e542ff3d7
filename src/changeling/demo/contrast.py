"""The first Result of the demo: what its two studies say together.

A reconstruction shares content, composition, size and file encoding with its photograph, so only the traces of a
generator's decoder can tell them apart. A child that was made from a description differs in everything else, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from changeling.experiments.reporting import select_best_row
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table

TITLE = "Do traces of the decoder alone give generated images away?"
_DATA = {  # of each study, in the table
    "reconstructions": "and their reconstructions",
    "true-clusters": "and generated images",
}
_CELLS = {"auroc": "probe", "balanced": "probe", "max": "distances"}  # metric -> experiment whose first table has it
_COLUMNS = (
    Column(key="auroc", label="AUROC", group="Linear probe", chance=0.5),
    Column(key="balanced", label="Balanced", group="Linear probe", chance=0.5),
    Column(key="max", label="Max distance", group="Photograph", better="none"),
)


def contrast_studies(studies: Mapping[str, Sequence[Result]]) -> Result:
    """Return a Result that sets the probes and distances of the bundled datasets side by side.

    Args:
        studies: the Results of a study of each of the datasets "reconstructions" and "true-clusters".
    """
    tables = {
        study: {result.experiment: result.tables[0] for result in results if result.tables}
        for study, results in studies.items()
    }
    summaries = (
        _summarise_reconstructions(tables["reconstructions"]["probe"].rows),
        _summarise_children(tables["true-clusters"]["probe"].rows),
    )
    probe_results = [result for study in _DATA for result in studies[study] if result.experiment == "probe"]
    return Result(
        experiment="contrast",
        title=TITLE,
        summary=" ".join(summaries),
        settings={},
        tables=(_build_table([row for study in _DATA for row in _build_rows(study, tables[study])]),),
        dataset={
            "name": " and ".join(_DATA),
            "hash": " and ".join(str(result.dataset["hash"]) for result in probe_results),
            "images": sum(int(result.dataset["images"]) for result in probe_results),
        },
        versions=probe_results[0].versions,
        notes=(
            "A reconstruction is a photograph that the autoencoder of a generator encoded and decoded; nothing was "
            "generated. It has the content, size and file encoding of its photograph, so what distinguishes the two is "
            "low-level: the traces of encoder and decoder.",
            "An image that was generated from a description of a photograph differs from it in everything that the "
            "description leaves open. What distinguishes the two can be low-level, or composition, or style.",
        ),
    )


def _build_rows(study: str, tables: Mapping[str, Table]) -> list[Row]:
    """Return a row for each backbone: that of all generators together."""
    rows = []
    for probe_row in tables["probe"].rows:
        if probe_row.labels["Generator"] == tables["probe"].rows[0].labels["Generator"]:
            cells = {key: _find_cell(tables[name], f"test_{key}", probe_row) for key, name in _CELLS.items()}
            rows.append(
                Row(
                    labels={"Photographs": _DATA[study], "Backbone": probe_row.labels["Backbone"]},
                    cells={key: cell for key, cell in cells.items() if cell},
                )
            )
    return rows


def _find_cell(table: Table, key: str, like: Row) -> Estimate | None:
    """Return the cell of a table for the generator and backbone of a row; None if there is none."""
    return next((row.cells.get(key) for row in table.rows if row.labels == like.labels), None)


def _build_table(rows: Sequence[Row]) -> Table:
    return Table(
        key="contrast",
        title="Traces of the decoder alone, and everything that a generator changes",
        labels=("Photographs", "Backbone"),
        columns=_COLUMNS,
        rows=tuple(rows),
        note="AUROC: probability that a generated image scores higher than a photograph; 50 % is chance. Balanced: "
        "mean of the accuracies on photographs and on generated images. Max distance: share of clusters in which the "
        "photograph is farther from the generated images than these are from each other, on average.",
    )


def _summarise_reconstructions(rows: Sequence[Row]) -> str:
    auroc, features = _select_auroc(rows)
    figures = f"AUROC {format_percent(auroc.value)}, 95 % interval {format_interval(auroc)}; chance is 50 %"
    images = f"{format_count(auroc.images, 'image', 'images')} of {format_count(auroc.clusters, 'cluster', 'clusters')}"
    if auroc.low > 0.5:
        return (
            f"Yes: a photograph that only passed through the autoencoder of a generator, with content, size and file "
            f"encoding unchanged, can be distinguished from the original by {features} ({figures}; {images})."
        )
    return (
        f"Not by these features: photographs that only passed through the autoencoder of a generator cannot be "
        f"distinguished from the originals by {features} ({figures}; {images})."
    )


def _summarise_children(rows: Sequence[Row]) -> str:
    auroc, features = _select_auroc(rows)
    figures = f"AUROC {format_percent(auroc.value)}, {format_interval(auroc)}"
    clusters = format_count(auroc.clusters, "cluster", "clusters")
    if auroc.low > 0.5:
        return (
            "Images generated from descriptions of photographs can be distinguished from these, too "
            f"({figures}; {clusters})."
        )
    return (
        f"For images generated from descriptions of photographs, {clusters} are too few to tell "
        f"({features}: {figures})."
    )


def _select_auroc(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Return the test AUROC of the backbone with the highest validation AUROC, and the name of its features."""
    best = select_best_row(rows, "auroc")
    if best is None:
        raise ValueError("the study has no AUROC on a test split")
    row, _ = best
    return row.cells["test_auroc"], f"{row.labels['Backbone']} features"
