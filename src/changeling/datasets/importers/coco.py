"""COCO: its photographs as parents, with their captions and, by Karpathy's file, their splits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changeling.datasets.importers.base import Note, Sourced, image_files, image_row, untold
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError

CAPTIONS = 5  # of a COCO image that has more, the first five count
KARPATHY: Mapping[Split, int] = {"train": 113_287, "val": 5_000, "test": 5_000}
TRAIN2014 = 82_783  # what is found for `train` where `restval`, the rest of val2014, was forgotten

_SPLITS: Mapping[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_INSTEAD = "pass captions_*.json or Karpathy's dataset_coco.json"
_WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Photograph:
    """What a caption file says of one image.

    Attributes:
        captions: the first five.
        split: Karpathy's; None in a file that has none.
        name: as in `val2014/COCO_val2014_000000391895`; empty where `split` is None.
        sentids: the number of each caption, of a sixth and seventh, too.
    """

    captions: list[str]
    split: Split | None = None
    name: str = ""
    sentids: tuple[int, ...] = ()


def from_coco(annotations: Path, images: Path, *, note: Note = untold) -> Iterator[Sourced]:
    """Yield the photographs below `images` that a COCO caption file describes, with their first five captions.

    A file belongs to the image whose id is the number that its name ends in, as in `000000000139.jpg` and
    `COCO_val2014_000000000139.jpg`. Where `annotations` is Karpathy's `dataset_coco.json`, the splits are his.
    `note` is told how many photographs are there.

    Raises:
        DatasetError: neither kind of file; of Karpathy's, other numbers of images than he has, or an image with
            fewer than five captions; none of the images is there, or one is there twice.
    """
    photographs = read_photographs(annotations)
    found = locate(images, photographs)
    if not found:
        raise DatasetError(f"{images} holds none of the {len(photographs)} images of {annotations}")
    for number, path in found.items():
        yield parent(number, photographs[number], path, "coco")
    note(f"photographs: {share(photographs, dict.fromkeys(found, 1))}")


def read_photographs(annotations: Path) -> dict[int, Photograph]:
    """Read a COCO caption file, or Karpathy's, which its content tells apart: image id -> what it says of it.

    Raises:
        DatasetError: neither kind of file; of Karpathy's, see `from_coco`.
    """
    try:
        content = json.loads(annotations.read_bytes(), object_hook=_shrunk)
        if "annotations" in content or not content["images"] or "sentences" not in content["images"][0]:
            return _read_captions(content)
    except IsADirectoryError:
        raise DatasetError(f"{annotations} is a folder; {_INSTEAD}") from None
    except OSError as error:
        raise DatasetError(f"{annotations} cannot be read: {error.strerror}") from None
    except _WRONG as error:
        why = ": it is not JSON, or cut short" if isinstance(error, json.JSONDecodeError) else ""
        raise DatasetError(f"{annotations} is not a COCO caption file{why}; {_INSTEAD}") from None
    photographs: dict[int, Photograph] = {}
    for place, entry in enumerate(content["images"]):
        try:
            number, photograph = _read_karpathy(entry)
        except _WRONG:
            lacks = f"image {place} in it (from 0) has no valid cocoid, split, file name or sentences"
            raise DatasetError(f"{annotations} is not Karpathy's file of COCO: {lacks}; {_INSTEAD}") from None
        if number in photographs:
            raise DatasetError(f"{annotations}: image {number} is there twice")
        if len(photograph.captions) < CAPTIONS:
            few = len(photograph.captions)
            raise DatasetError(f"{annotations}: image {number} has {few} captions; each needs {CAPTIONS}")
        photographs[number] = photograph
    _check_counts(annotations, photographs)
    return photographs


def _shrunk(entry: dict[str, Any]) -> Any:
    """Make a sentence of Karpathy's file a pair, while the file is read: its words one by one are most of it."""
    return (entry["raw"], entry.get("sentid")) if "raw" in entry else entry


def _read_captions(content: dict[str, Any]) -> dict[int, Photograph]:
    photographs = {int(image["id"]): Photograph([]) for image in content["images"]}
    for note in content["annotations"]:
        photograph = photographs.get(int(note["image_id"]))
        caption = " ".join(note["caption"].split())
        if photograph and len(photograph.captions) < CAPTIONS:
            photograph.captions.append(caption)
    return photographs


def _read_karpathy(entry: dict[str, Any]) -> tuple[int, Photograph]:
    photograph = Photograph(
        captions=[" ".join(raw.split()) for raw, _ in entry["sentences"][:CAPTIONS]],
        split=_SPLITS[entry["split"]],
        name=f"{entry['filepath']}/{entry['filename'].removesuffix('.jpg')}",
        sentids=tuple(int(sentid) for _, sentid in entry["sentences"]),
    )
    return int(entry["cocoid"]), photograph


def _check_counts(annotations: Path, photographs: Mapping[int, Photograph]) -> None:
    counts = Counter(photograph.split for photograph in photographs.values())
    if all(counts[split] == KARPATHY[split] for split in SPLITS):
        return
    hint = ""
    if counts["train"] == TRAIN2014:
        hint = "; these are train2014 alone, without the images marked `restval`, which count as train"
    raise DatasetError(
        f"{annotations} has {_triple(counts)} images for train / val / test, but the Karpathy splits have "
        f"{_triple(KARPATHY)}{hint}"
    )


def _triple(counts: Mapping[Any, int]) -> str:
    return " / ".join(f"{counts[split]:,}" for split in SPLITS)


def locate(images: Path, known: Collection[int]) -> dict[int, str]:
    """Find the files below `images` whose names end in the number of a known image: id -> path, in the paths' order.

    Raises:
        DatasetError: no such folder, or an image is there twice.
    """
    found: dict[int, str] = {}
    for path in image_files(images):
        match = re.search(r"([0-9]+)\.[^.]*$", path)
        if match and (number := int(match[1])) in known:
            if number in found:
                raise DatasetError(f"{path} and {found[number]} are both image {number}; keep one of them")
            found[number] = path
    return found


def parent(number: int, photograph: Photograph, path: str, source: str) -> Sourced:
    """Make a photograph's row."""
    row = image_row(path, str(number), "parent", None, source=source, cluster=f"coco_{number}", split=photograph.split)
    return row, photograph.captions


def share(photographs: Mapping[int, Photograph], found: Mapping[int, int], each: int = 1) -> str:
    """Say how many there are (`found`, by image) of how many there should be (`each` an image), by split."""
    there: Counter[Split | None] = Counter()
    for number, count in found.items():
        there[photographs[number].split] += count
    total = Counter(photograph.split for photograph in photographs.values())
    splits: list[Split | None] = [split for split in (*SPLITS, None) if split in total]
    return ", ".join(f"{split or ''} {there[split]:,} of {each * total[split]:,}".strip() for split in splits)
