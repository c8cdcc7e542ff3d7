"""The conditions of a protocol: its preprocessing, and transformations of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from changeling.evaluation.conditions import CONDITIONS, Change, Condition, choose_number, reduce_for_transformation
from changeling.images.encode import reencode_for_web
from changeling.images.transformations import TRANSFORMATIONS, transform

TRANSFORMED = "transformed"  # the condition with the transformations of the protocol
Transformations = Mapping[str, Sequence[float]]  # name -> strengths


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
