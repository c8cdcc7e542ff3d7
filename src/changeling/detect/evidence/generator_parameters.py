"""Parameters that programs for image generation store in their files: prompt, model, sampler, seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from PIL import Image

from changeling.detect.evidence.evidence import Evidence, shorten
from changeling.detect.evidence.exif import read_exif, read_png_texts
from changeling.errors import ChangelingError

if TYPE_CHECKING:
    from sd_parsers.data import PromptInfo

KIND: Final = "generator parameters"
# Text fields that hold parameters, with the most characters that are parsed. Some are parsed by regular expressions,
# whose time can grow with the square of the length; the others are JSON.
_LIMITS = {
    "parameters": 1 << 14,  # AUTOMATIC1111 and Fooocus
    "prompt": 1 << 20,  # ComfyUI
    "sd-metadata": 1 << 20,  # InvokeAI
    "invokeai_metadata": 1 << 20,
    "Dream": 1 << 14,
    "Comment": 1 << 14,  # NovelAI, with the next two
    "Description": 1 << 14,
    "Source": 1 << 8,
}
_NAMES = {"AUTOMATIC1111": "a Stable Diffusion web UI (AUTOMATIC1111 or similar)"}
_WORTH = "Strong. Hardly any photograph has such data by mistake. It may describe what the image was made from."
_FORGING = "Easily: it is plain text that anyone can add or remove."


def read_generator_parameters(image: Image.Image) -> Evidence:
    """Return the parameters of the program that generated an image.

    Only fields inside the image's container are read: PNG text fields and EXIF data as Pillow reads them. Bytes after
    the end of the image and texts hidden in its pixels are not looked at.

    Raises:
        ChangelingError: a field is too long to be read, or a parser fails on it.
    """
    texts = {key: text for key, text in _collect_texts(image).items() if key in _LIMITS}
    for key, text in texts.items():
        if len(text) > _LIMITS[key]:
            raise ChangelingError(f"the field {key!r} has {len(text):,} characters, more than {_LIMITS[key]:,}")
    if not texts:
        return _describe_absence()
    try:
        details = _parse(texts)
    except ImportError:
        names = ", ".join(map(repr, sorted(texts)))
        return Evidence(KIND, "unavailable", f"Not read: {names}. Install it: pip install 'changeling[evidence]'")
    if not details:
        return _describe_absence()
    program = details.pop("program")
    summary = f"The file has the parameters of {_NAMES.get(program, program)}, which generates images."
    return Evidence(KIND, "found", summary, "generated", _WORTH, _FORGING, details)


def _describe_absence() -> Evidence:
    return Evidence(KIND, "absent", "No parameters of a program that generates images.")


def _collect_texts(image: Image.Image) -> dict[str, str]:
    """Return the text fields that programs for image generation use, of a PNG or of EXIF data."""
    texts = read_png_texts(image)
    if texts.keys() & {"parameters", "prompt"}:
        return texts
    exif = read_exif(image)
    if comment := _decode_comment(exif.get("UserComment")):
        texts["parameters"] = comment
    for tag in ("Make", "Model", "ImageDescription"):  # where ComfyUI stores "prompt:{...}" and "workflow:{...}"
        key, colon, text = str(exif.get(tag, "")).partition(":")
        if colon and key.lower() == "prompt":
            texts["prompt"] = text.rstrip("\0")
    return texts


def _decode_comment(value: object) -> str:
    """Return the text of EXIF's UserComment: eight bytes name its encoding, and UTF-16 has either byte order."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes) or len(value) <= 8:
        return ""
    code, data = value[:8].rstrip(b"\0"), value[8 : 4 * _LIMITS["parameters"]]  # more is too long in any encoding
    if code != b"UNICODE":
        return data.decode("utf-8", "replace").strip("\0 ")
    texts = [data.decode(encoding, "replace") for encoding in ("utf-16-be", "utf-16-le")]
    return max(texts, key=_count_ascii).strip("\0 \ufeff")


def _count_ascii(text: str) -> int:
    return sum(character.isascii() for character in text)


def _parse(texts: dict[str, str]) -> dict[str, str]:
    """Return what the first parser that understands the fields finds, or nothing.

    Parsers raise ParserError on fields of other programs. An object of JSON on which one raises anything else is of its
    program, or looks like it, but cannot be read.

    Raises:
        ImportError: sd-parsers is not installed.
        ChangelingError: a parser fails on an object of JSON, and no other one understands the fields.
    """
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import MANAGED_PARSERS, Parser

    # Without the links of ComfyUI's workflow its parser reads the nodes beside a sampler only: following hostile links
    # through thousands of nodes can take minutes.
    fields = texts | {"workflow": '{"links": []}'}
    make_parsers: list[Callable[[], Parser]] = [*MANAGED_PARSERS]
    has_failed = False
    for make_parser in make_parsers:
        try:
            if details := _describe(make_parser().parse(dict(fields)), fields):
                return details
        except ParserError:
            continue
        except Exception:  # parsers raise all kinds of exceptions on values that they do not expect
            has_failed = True
    objects = [key for key, text in texts.items() if text.lstrip().startswith("{")]
    if has_failed and objects:
        raise ChangelingError(f"no parser understands the JSON of {', '.join(map(repr, objects))}")
    return {}


def _describe(info: PromptInfo, fields: dict[str, str]) -> dict[str, str]:
    """Return the program, the prompts, the models and the settings of the first sampler."""
    if not info.samplers and not _has_nodes(fields.get("prompt", "")):
        return {}
    details = {
        "program": info.generator.value,
        "prompt": shorten(info.full_prompt),
        "negative prompt": shorten(info.full_negative_prompt),
        "model": shorten(", ".join(sorted(map(str, info.models)))),
    }
    for sampler in info.samplers[:1]:
        details["sampler"] = shorten(sampler.name, 80)
        details |= {name: shorten(sampler.parameters.get(name, ""), 80) for name in ("steps", "seed", "cfg_scale")}
    return {name: text for name, text in details.items() if text}


def _has_nodes(prompt: str) -> bool:
    """Whether a text is a graph of ComfyUI: an object of nodes that name their classes."""
    nodes = json.loads(prompt)
    return bool(nodes) and all(isinstance(node, dict) and "class_type" in node for node in nodes.values())
