"""The card of a dataset on the Hugging Face Hub: its README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.base import CAPTIONS, GENERATORS
from changeling.datasets.importers.tables import reading
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError

SPLIT_NAMES: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}  # as the Hub calls them
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

Real images and what text-to-image models made of their captions. A *cluster* is a *parent* (a real image), its captions
and its *children* (the fake images): images that mean the same. Tell real from fake by `role`; images of one cluster
are all in the same split.

{total} images in {clusters} clusters, {captions} captions:

| images |{splits} |
|---|{rules}
{counts}
{without}
## Columns

| column | |
|---|---|
| `image` | the file, byte for byte as it was; null where `status` is not ok |
| `image_id` | the image's own |
| `cluster_id` | images with the same one mean the same |
| `role` | `parent` (real) or `child` (fake) |
| `source` | where the image was taken from |
| `caption_index` | which of its cluster's captions a child was made from |
| `generator` | what made a child |
| `width`, `height`, `format`, `sha256` | of the file; the sides as it is shown upright |
| `seed` | from which a child was drawn, if that is known |
| `status`, `error` | ok, or why there is no image |
| `caption` | the one that a child was made from |
| `captions` | the cluster's |
| `row` | the image's place in the dataset that this was written from |

## How the children were made

{made}

## Licences

The licence of the whole covers no more than what whoever shares it has made. Images, captions and generators have
owners of their own.

| of | licence |
|---|---|
| this dataset | {licence} |
| the parents, and their captions | *to be filled in* |
{owners}
## Reading it

```python
from datasets import load_dataset

dataset = load_dataset("OWNER/NAME")  # or the path of this folder
```

`changeling import huggingface FOLDER --output DATASET` makes of the downloaded folder the dataset that it was.
"""


def check_licence(licence: str) -> None:
    """Raise DatasetError for what is no licence as the Hub spells them."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise DatasetError(f"{licence!r} is no licence as the Hub spells them, such as cc-by-4.0, or other")


def card(dataset: Dataset, licence: str) -> str:
    """The whole README.md."""
    counts = _counts(dataset)
    splits = [split for split in SPLITS if any(split in some for some in counts.values())]
    names = [SPLIT_NAMES[split] for split in splits]
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in names)
    if len(dataset.captions):
        files += f"\n- config_name: captions\n  data_files: {CAPTIONS}"
    lost = int((dataset.column("status") != "ok").sum())
    generators = sorted(generator for generator in counts if generator is not None)
    return _CARD.format(
        licence=licence,
        size=next((size for limit, size in _SIZES.items() if len(dataset) < limit), "n>10M"),
        files=files,
        name=_plain(dataset.path.absolute().name),
        total=f"{len(dataset):,}",
        clusters=f"{len(set(dataset.clusters)):,}",
        captions=f"{len(dataset.captions):,}",
        splits="".join(f" {name} |" for name in names).removesuffix(" |"),
        rules="---:|" * len(names),
        counts="\n".join(_line(generator, counts[generator], splits) for generator in (None, *generators)),
        without=f"\n{lost:,} of them are rows without an image, and `status` says why.\n" if lost else "",
        made=_made(dataset),
        owners="".join(f"| what {_plain(generator)} makes | *to be filled in* |\n" for generator in generators),
    )


def _counts(dataset: Dataset) -> dict[str | None, dict[Split, int]]:
    """How many images there are of each generator, None for the parents, in each split."""
    counts: dict[str | None, dict[Split, int]] = {None: {}}
    table = dataset.images.group_by(["role", "generator", "split"]).aggregate([([], "count_all")])
    for row in table.to_pylist():
        some = counts.setdefault(row["generator"] if row["role"] == "child" else None, {})
        some[row["split"]] = some.get(row["split"], 0) + row["count_all"]
    return counts


def _line(generator: str | None, counts: Mapping[Split, int], splits: list[Split]) -> str:
    name = "parents" if generator is None else f"children by {_plain(generator)}"
    return f"| {name} |" + "".join(f" {counts.get(split, 0):,} |" for split in splits)


def _made(dataset: Dataset) -> str:
    """What generators.json says."""
    path = dataset.path / GENERATORS
    if not path.exists():
        return "*To be filled in: models, revisions, steps, guidance.*"
    with reading(path):
        content: Any = json.loads(path.read_bytes())
        return f"```json\n{json.dumps(content, indent=2)}\n```"


def _plain(text: str) -> str:
    """A text of anyone's as part of a line of Markdown: without marks or breaks that would mean something there."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&])", r"\\\1", " ".join(text.split()))
