"""COCO's caption files and Karpathy's file of splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changeling.datasets.messages import Note, format_count, format_examples, ignore_note
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError

CAPTIONS_PER_IMAGE = 5  # the first five of an image that has more
KARPATHY_COUNTS: Mapping[Split, int] = {"train": 113_287, "val": 5_000, "test": 5_000}
TRAIN2014_COUNT = 82_783  # images of `train` if `restval`, the rest of val2014, was left out

_KARPATHY_SPLITS: Mapping[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_ADVICE = "pass captions_*.json or Karpathy's dataset_coco.json"
_FORMAT_ERRORS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Photograph:
    """What a caption file says about one image.

    Attributes:
        captions: the first five.
        file_name: as in `COCO_val2014_000000391895.jpg`; empty if the caption file has none.
        folder: as in `val2014`; empty in a file without splits.
        split: Karpathy's; None in a file without splits.
        caption_ids: the `sentid` of each caption, also of a sixth and seventh; empty in a file without splits.
    """

    captions: list[str]
    file_name: str = ""
    folder: str = ""
    split: Split | None = None
    caption_ids: tuple[int, ...] = ()


def read_photographs(annotations: Path, note: Note = ignore_note) -> dict[int, Photograph]:
    """Read a COCO caption file or Karpathy's file, whichever it is: image id -> photograph.

    `note` is called with the number of captions that are left out because they have no text.

    Raises:
        DatasetError: it is neither; or Karpathy's file has other numbers of images than his splits, or an image with
            fewer than five captions.
    """
    content = _read_json(annotations)
    try:
        if "annotations" in content or not content["images"] or "sentences" not in content["images"][0]:
            return _parse_captions(content, note)
    except _FORMAT_ERRORS:
        raise DatasetError(f"{annotations} is not a COCO caption file; {_ADVICE}") from None
    return _parse_karpathy_file(content, annotations)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes(), object_hook=_drop_tokens)
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder; {_ADVICE}") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DatasetError(f"{path} is not a COCO caption file: it is not JSON, or is truncated; {_ADVICE}") from None


def _drop_tokens(entry: dict[str, Any]) -> Any:
    """Keep the text and the id of a sentence of Karpathy's file: the list of its words is most of the file."""
    return (entry["raw"], entry.get("sentid")) if "raw" in entry else entry


def _parse_captions(content: dict[str, Any], note: Note) -> dict[int, Photograph]:
    photographs = {int(image["id"]): Photograph([], str(image.get("file_name") or "")) for image in content["images"]}
    if not photographs:
        raise ValueError
    empty: list[int] = []  # the image of each caption that has no text
    for annotation in content["annotations"]:
        image_id, text = int(annotation["image_id"]), annotation["caption"]
        photograph = photographs.get(image_id)
        caption = " ".join(text.split()) if isinstance(text, str) else ""
        if photograph and not caption:
            empty.append(image_id)
        elif photograph and len(photograph.captions) < CAPTIONS_PER_IMAGE:
            photograph.captions.append(caption)
    if empty:
        note(f"{format_count(len(empty), 'caption')} without text left out, of images {format_examples(empty)}")
    return photographs


def _parse_karpathy_file(content: dict[str, Any], annotations: Path) -> dict[int, Photograph]:
    photographs: dict[int, Photograph] = {}
    for index, entry in enumerate(content["images"]):
        try:
            image_id, photograph = _parse_karpathy_entry(entry)
        except _FORMAT_ERRORS:
            problem = f"image {index} in it (from 0) has no valid cocoid, split, file name or sentences"
            raise DatasetError(f"{annotations} is not Karpathy's file of COCO: {problem}; {_ADVICE}") from None
        if image_id in photographs:
            raise DatasetError(f"{annotations}: image {image_id} occurs twice")
        count = len(photograph.captions)
        if count < CAPTIONS_PER_IMAGE:
            raise DatasetError(f"{annotations}: image {image_id} has {count} captions; each needs {CAPTIONS_PER_IMAGE}")
        photographs[image_id] = photograph
    _check_counts(annotations, photographs)
    return photographs


def _parse_karpathy_entry(entry: dict[str, Any]) -> tuple[int, Photograph]:
    if not isinstance(entry["filename"], str):
        raise TypeError
    photograph = Photograph(
        captions=[" ".join(text.split()) for text, _ in entry["sentences"][:CAPTIONS_PER_IMAGE]],
        file_name=entry["filename"],
        folder=str(entry["filepath"]),
        split=_KARPATHY_SPLITS[entry["split"]],
        caption_ids=tuple(int(caption_id) for _, caption_id in entry["sentences"]),
    )
    return int(entry["cocoid"]), photograph


def _check_counts(annotations: Path, photographs: Mapping[int, Photograph]) -> None:
    counts = Counter(photograph.split for photograph in photographs.values())
    if all(counts[split] == KARPATHY_COUNTS[split] for split in SPLITS):
        return
    hint = ""
    if counts["train"] == TRAIN2014_COUNT:
        hint = "; the images marked `restval`, which belong to train, are missing"
    raise DatasetError(
        f"{annotations} has {_format_counts(counts)} images for train / val / test, but the Karpathy splits have "
        f"{_format_counts(KARPATHY_COUNTS)}{hint}"
    )


def _format_counts(counts: Mapping[Any, int]) -> str:
    return " / ".join(f"{counts[split]:,}" for split in SPLITS)
