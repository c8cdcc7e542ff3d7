"""The audit of a dataset: its tables and its files, each file read once."""

from __future__ import annotations

from changeling.datasets.audit.duplicates import find_duplicates
from changeling.datasets.audit.file_checks import check_files
from changeling.datasets.audit.findings import KINDS, Audit
from changeling.datasets.audit.stray_files import find_stray_files
from changeling.datasets.audit.table_checks import (
    find_children_without_caption,
    find_clusters_without_parent,
    find_repeated_captions,
)
from changeling.datasets.audit.thumbnails import open_thumbnail_file
from changeling.datasets.dataset import Dataset
from changeling.progress import Progress, silent


def audit_dataset(dataset: Dataset, *, progress: Progress = silent) -> Audit:
    """Check the tables and every file of a dataset.

    Each file is read once. Of each picture 17 bytes are kept in memory, and a thumbnail of 1 KiB in a temporary file.
    """
    with open_thumbnail_file() as thumbnails:
        findings, pictures = check_files(dataset, thumbnails, progress)
        findings += find_duplicates(dataset, pictures)
    for find in (find_clusters_without_parent, find_children_without_caption, find_repeated_captions, find_stray_files):
        findings += find(dataset)
    order = list(KINDS)
    findings.sort(key=lambda finding: order.index(finding.kind))
    return Audit(len(dataset), len(set(dataset.clusters.tolist())), tuple(findings))
