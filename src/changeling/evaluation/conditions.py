"""Conditions: how the images of a dataset are changed before they are scored.

Each image is changed in one way, which its image_id chooses, and saved as PNG: all detectors score the same files. A
protocol may add a condition with transformations of its own, and a preprocessing before all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO

from PIL import Image

from changeling.errors import EvaluationError
from changeling.features.transformed import MAX_SHORT_SIDE
from changeling.images.decode import ImageFile, decode_image
from changeling.images.deliveries import DELIVERIES, deliver, reduce_for_delivery
from changeling.images.encode import reencode_for_web
from changeling.images.transformations import TRANSFORMATIONS, transform

TRANSFORMED = "transformed"  # the condition with the transformations of a protocol
Change = Callable[[Image.Image, str], Image.Image]
Transformations = Mapping[str, Sequence[float]]  # name -> strengths


@dataclass(frozen=True, slots=True)
class Condition:
    """A way to show the images.

    Attributes:
        name: on the command line.
        title: of its columns.
        description: of its images, for notes.
        version: is another one when `change` gives other pixels.
        change: (RGB image, image_id) -> RGB image; None leaves the files as they are. Raises ImageError.
    """

    name: str
    title: str
    description: str
    version: str = "1"
    change: Change | None = None


def deliver_one_way(image: Image.Image, image_id: str) -> Image.Image:
    """Return an image as it arrives by one of the deliveries of `detect --stable`."""
    return deliver(reduce_for_delivery(image), DELIVERIES[choose_number("web", image_id, len(DELIVERIES))])


def transform_strongly(image: Image.Image, image_id: str) -> Image.Image:
    """Return an image with one of the transformations of the experiment `robustness`, at its greatest strength."""
    transformation = list(TRANSFORMATIONS.values())[choose_number("hard", image_id, len(TRANSFORMATIONS))]
    return transform(reduce_for_transformation(image), transformation, transformation.strengths[-1], image_id)


def reduce_for_transformation(image: Image.Image) -> Image.Image:
    """Return an image as it is before transformations, which are defined on images that are not too large."""
    factor = min(image.size) // MAX_SHORT_SIDE
    return image.reduce(factor) if factor > 1 else image


def choose_number(condition: str, image_id: str, count: int) -> int:
    """Return a number below `count` that only the condition and the image's id determine."""
    digest = hashlib.sha256(f"{condition}/{image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % count


CLEAN = Condition("clean", "Clean", "the files as they are")
WEB = Condition(
    "web",
    "Web",
    "each delivered as web sites and messengers do: saved again, scaled or cropped",
    change=deliver_one_way,
)
HARD = Condition("hard", "Hard", "each with a strong transformation", change=transform_strongly)
CONDITIONS = {condition.name: condition for condition in (CLEAN, WEB, HARD)}


def get_conditions(names: list[str]) -> list[Condition]:
    """Return the conditions of some names, each once. Raises EvaluationError if there is no such condition."""
    for name in names:
        if name not in CONDITIONS:
            raise EvaluationError(f"there is no condition {name!r}; use one of {', '.join(CONDITIONS)}")
    return [CONDITIONS[name] for name in dict.fromkeys(names)]


def change_file(file: ImageFile, condition: Condition, image_id: str, path: str) -> ImageFile:
    """Return the changed image as a PNG file for `path`, or `file` if it is not changed. Raises ImageError."""
    if condition.change is None:
        return file
    buffer = BytesIO()
    condition.change(decode_image(file).image, image_id).save(buffer, "PNG", compress_level=1)
    return ImageFile(path, buffer.getvalue())


def reencode(image: Image.Image, image_id: str) -> Image.Image:  # noqa: ARG001 (the same for all images)
    """Return an image scaled to a short side of at most 384 pixels and saved as JPEG, as `reencoded` does."""
    return reencode_for_web(image)


PREPROCESSINGS: Mapping[str, Change | None] = {"none": None, "reencode": reencode}


def check_transformations(transformations: Transformations) -> None:
    """Raise ValueError if there is no such transformation, or a strength lies beyond those that are known."""
    for name, strengths in transformations.items():
        if name not in TRANSFORMATIONS:
            raise ValueError(f"transformations: there is no {name!r}; choose from {', '.join(TRANSFORMATIONS)}")
        known = TRANSFORMATIONS[name].strengths
        if not strengths or not all(min(known) <= strength <= max(known) for strength in strengths):
            raise ValueError(
                f"transformations: {name} needs strengths from {min(known):g} to {max(known):g} "
                f"({TRANSFORMATIONS[name].parameter})"
            )


def build_conditions(names: Sequence[str], preprocessing: str, transformations: Transformations) -> list[Condition]:
    """Return the conditions of a protocol, in its order."""
    known = dict(CONDITIONS)
    if transformations:
        known[TRANSFORMED] = _make_transformed(transformations)
    before = PREPROCESSINGS[preprocessing]
    conditions = [known[name] for name in names]
    if before is None:
        return conditions
    return [
        replace(
            condition,
            description=f"{condition.description}, after preprocessing ({preprocessing})",
            version=f"{condition.version}-{preprocessing}",
            change=before if condition.change is None else partial(_change_twice, before, condition.change),
        )
        for condition in conditions
    ]


def _make_transformed(transformations: Transformations) -> Condition:
    """Return the condition in which the id of an image draws its transformation and the strength."""
    choices = [
        (TRANSFORMATIONS[name], strength) for name, strengths in transformations.items() for strength in strengths
    ]

    def transform_one_way(image: Image.Image, image_id: str) -> Image.Image:
        transformation, strength = choices[choose_number(TRANSFORMED, image_id, len(choices))]
        return transform(reduce_for_transformation(image), transformation, strength, image_id)

    content = json.dumps([(transformation.name, strength) for transformation, strength in choices])
    version = hashlib.sha256(content.encode()).hexdigest()[:8]
    description = "each with one of the protocol's transformations"
    return Condition(TRANSFORMED, "Transformed", description, version, transform_one_way)


def _change_twice(first: Change, second: Change, image: Image.Image, image_id: str) -> Image.Image:
    return second(first(image, image_id), image_id)
