"""The card of a dataset on the Hugging Face Hub: its README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import CAPTIONS, GENERATORS
from changeling.datasets.messages import format_count
from changeling.datasets.read_errors import convert_read_errors
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError

SPLIT_NAMES: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}  # names of the Hub
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}

_CARD = """\
---
license: {licence}
task_categories:
- image-classification
- text-to-image
tags:
- changeling
- deepfake-detection
- synthetic-images
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{files}
---

# {name}

Real images, and images that text-to-image models generated from their captions. A *cluster* is a *parent* (a real
image), its captions and its *children* (the generated images). `role` tells real from generated images. All images of
a cluster are in one split.

{total} images in {clusters} clusters, {captions} captions:

| images |{splits} |
|---|{rules}
{counts}
{without_image}
## Columns

| column | |
|---|---|
| `image` | the original bytes of the file; null if `status` is not ok |
| `image_id` | the id of the image |
| `cluster_id` | the id of its cluster |
| `role` | `parent` (real) or `child` (generated) |
| `source` | where the image was taken from |
| `caption_index` | the number of the caption, in its cluster, that a child was generated from |
| `generator` | the model that generated a child |
| `width`, `height`, `format`, `sha256` | of the file; the size of the upright image, in pixels |
| `seed` | the random seed of a child, if known |
| `status`, `error` | ok, or why there is no image |
| `caption` | the caption that a child was generated from |
| `captions` | the captions of the cluster |
| `row` | the row number in the exported dataset |

## How the children were generated

{generators}

## Licences

The licence of this dataset covers the work of those who share it. Images, captions and generated images have owners
and licences of their own.

| part | licence |
|---|---|
| this dataset | {licence} |
| the parents, and their captions | *to be filled in* |
{owners}
## How to load it

```python
from datasets import load_dataset

dataset = load_dataset("OWNER/NAME")  # or the path of this folder
```

`changeling import huggingface FOLDER --output DATASET` restores the original dataset from the downloaded folder.
"""


def check_licence(licence: str) -> None:
    """Raise DatasetError if the text is not a licence identifier of the Hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise DatasetError(f"{licence!r} is not a licence identifier of the Hub, such as cc-by-4.0 or other")


def render_card(dataset: Dataset, licence: str) -> str:
    """Return the README.md of an exported dataset."""
    counts = _count_images(dataset)
    splits = [split for split in SPLITS if any(split in by_split for by_split in counts.values())]
    split_names = [SPLIT_NAMES[split] for split in splits]
    generators = sorted(generator for generator in counts if generator is not None)
    rows = [_render_counts(generator, counts[generator], splits) for generator in (None, *generators)]
    return _CARD.format(
        licence=licence,
        size=next((size for limit, size in _SIZES.items() if len(dataset) < limit), "n>10M"),
        files=_render_data_files(split_names, has_captions=len(dataset.captions) > 0),
        name=_escape_markdown(dataset.path.absolute().name),
        total=f"{len(dataset):,}",
        clusters=f"{len(set(dataset.clusters)):,}",
        captions=f"{len(dataset.captions):,}",
        splits="".join(f" {name} |" for name in split_names).removesuffix(" |"),
        rules="---:|" * len(splits),
        counts="\n".join(rows),
        without_image=_render_rows_without_image(dataset),
        generators=_render_generators(dataset),
        owners="".join(f"| images by {_escape_markdown(name)} | *to be filled in* |\n" for name in generators),
    )


def _count_images(dataset: Dataset) -> dict[str | None, dict[Split, int]]:
    """Return the number of images of each generator, None for the parents, in each split."""
    counts: dict[str | None, dict[Split, int]] = {None: {}}
    table = dataset.images.group_by(["role", "generator", "split"]).aggregate([([], "count_all")])
    for row in table.to_pylist():
        by_split = counts.setdefault(row["generator"] if row["role"] == "child" else None, {})
        by_split[row["split"]] = by_split.get(row["split"], 0) + row["count_all"]
    return counts


def _render_data_files(split_names: list[str], has_captions: bool) -> str:
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in split_names)
    return f"{files}\n- config_name: captions\n  data_files: {CAPTIONS}" if has_captions else files


def _render_counts(generator: str | None, counts: Mapping[Split, int], splits: list[Split]) -> str:
    name = "parents" if generator is None else f"children by {_escape_markdown(generator)}"
    return f"| {name} |" + "".join(f" {counts.get(split, 0):,} |" for split in splits)


def _render_rows_without_image(dataset: Dataset) -> str:
    count = int((dataset.column("status") != "ok").sum())
    return f"\n{format_count(count, 'row has', 'rows have')} no image; `status` says why.\n" if count else ""


def _render_generators(dataset: Dataset) -> str:
    path = dataset.path / GENERATORS
    if not path.exists():
        return "*To be filled in: models, revisions, steps, guidance.*"
    with convert_read_errors(path):
        content: Any = json.loads(path.read_bytes())
        return f"```json\n{json.dumps(content, indent=2)}\n```"


def _escape_markdown(text: str) -> str:
    """Escape any text for a line of Markdown: no markup and no line breaks."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&])", r"\\\1", " ".join(text.split()))
