"""Parameters of programs for image generation, as these programs write them."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from changeling.detect.evidence.evidence import Evidence
from changeling.detect.evidence.exif import load_late_chunks
from changeling.detect.evidence.generator_parameters import read_generator_parameters
from changeling.detect.evidence.inspect import EvidenceReader
from changeling.errors import ChangelingError
from changeling.images.decode import ImageFile
from tests.detect.evidence.signing import encode, encode_with_exif

MAKE, MODEL, DESCRIPTION, COMMENT = 0x010F, 0x0110, 0x010E, 0x9286
WEB_UI = (
    "a photograph of a lighthouse, <lora:detail:0.6>\nNegative prompt: blurry, text\nSteps: 20, Sampler: DPM++ 2M, "
    "Schedule type: Karras, CFG scale: 7, Seed: 1234567, Size: 512x512, Model hash: 6ce0161689, Model: sd15, "
    'Lora hashes: "detail: 7c6bad76eb54", Version: v1.9.4'
)
NODES: dict[str, dict[str, Any]] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 25,
            "cfg": 6.5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red bicycle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
}
WORKFLOW = {"nodes": [], "links": [[1, 4, 0, 3, 0, "MODEL"], [4, 6, 0, 3, 1, "CONDITIONING"]], "version": 0.4}
COMFY = {"prompt": json.dumps(NODES), "workflow": json.dumps(WORKFLOW)}
FOOOCUS = {
    "parameters": json.dumps(
        {
            "prompt": "a castle",
            "negative_prompt": "",
            "base_model": "juggernautXL",
            "base_model_hash": "aeb7e9e689",
            "sampler": "dpmpp_2m_sde_gpu",
            "scheduler": "karras",
            "guidance_scale": 4,
            "seed": "7",
            "steps": 30,
            "sharpness": 2,
            "version": "Fooocus v2.5.0",
        }
    )
}
INVOKE = {
    "invokeai_metadata": json.dumps(
        {
            "positive_prompt": "a fox",
            "negative_prompt": "",
            "scheduler": "euler",
            "seed": 9,
            "steps": 30,
            "cfg_scale": 7.5,
            "model": {"model_name": "dreamshaper", "base_model": "sd-1"},
        }
    )
}
NOVEL = {
    "Title": "AI generated image",
    "Software": "NovelAI",
    "Source": "Stable Diffusion 1D44365E",
    "Description": "a garden",
    "Comment": json.dumps({"sampler": "k_euler", "seed": 5, "steps": 28, "scale": 11.0, "uc": "lowres"}),
}


def save(texts: dict[str, str], *, compressed: bool = False) -> bytes:
    """A PNG with text fields."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=compressed)
    return encode("PNG", pnginfo=info)


def make_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def read(data: bytes) -> Evidence:
    with Image.open(BytesIO(data)) as image:
        load_late_chunks(image, data)
        return read_generator_parameters(image)


@pytest.mark.parametrize(
    ("texts", "program", "details"),
    [
        (
            {"parameters": WEB_UI},
            "AUTOMATIC1111",
            {"seed": "1234567", "model": "sd15", "negative prompt": "blurry, text"},
        ),
        (COMFY, "ComfyUI", {"seed": "42", "prompt": "a red bicycle", "model": "sd_xl_base_1.0.safetensors"}),
        ({"prompt": COMFY["prompt"]}, "ComfyUI", {"sampler": "euler", "steps": "25"}),
        ({"prompt": '{"1": {"class_type": "KSamplerSelect", "inputs": {}}}'}, "ComfyUI", {}),
        (FOOOCUS, "Fooocus", {"seed": "7", "prompt": "a castle", "model": "juggernautXL"}),
        (INVOKE, "InvokeAI", {"seed": "9", "prompt": "a fox", "model": "dreamshaper"}),
        (
            {"Dream": '"a boat [fog]" -s 50 -S 3 -W 512 -H 512 -C 7.5 -A k_lms'},
            "InvokeAI",
            {"prompt": "a boat", "negative prompt": "fog"},
        ),
        (NOVEL, "NovelAI", {"seed": "5", "prompt": "a garden", "model": "Stable Diffusion"}),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_parameters_in_a_png(texts: dict[str, str], program: str, details: dict[str, str], compressed: bool) -> None:
    found = read(save(texts, compressed=compressed))
    assert (found.state, found.suggests) == ("found", "generated")
    assert program in found.summary
    assert details.items() <= found.details.items()


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-8"])
def test_parameters_in_exif(image_format: str, encoding: str) -> None:
    code = b"ASCII\0\0\0" if encoding == "utf-8" else b"UNICODE\0"
    found = read(encode_with_exif(image_format, {DESCRIPTION: "x"}, {COMMENT: code + WEB_UI.encode(encoding)}))
    assert found.suggests == "generated"
    assert found.details["seed"] == "1234567"


def test_a_graph_of_comfyui_in_exif() -> None:
    tags = {MAKE: f"workflow:{COMFY['workflow']}", MODEL: f"prompt:{COMFY['prompt']}"}
    assert read(encode_with_exif("WEBP", tags, {})).details["prompt"] == "a red bicycle"


def test_parameters_behind_the_pixels_of_a_png_are_read() -> None:
    data = encode("PNG")
    end = data.rindex(b"IEND") - 4
    late = data[:end] + make_chunk(b"tEXt", b"parameters\0" + WEB_UI.encode()) + data[end:]
    assert read(late).details["seed"] == "1234567"


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize(
    "appended",
    [
        b"AI generated!",  # 13 bytes
        b"parameters\0" + WEB_UI.encode(),
        make_chunk(b"tEXt", b"parameters\0" + WEB_UI.encode()),
        save({"parameters": WEB_UI}),
        encode_with_exif("JPEG", {}, {COMMENT: b"UNICODE\0" + WEB_UI.encode("utf-16-be")}),
        encode_with_exif("WEBP", {MODEL: f"prompt:{COMFY['prompt']}"}, {}),
    ],
)
def test_bytes_after_the_end_of_the_image_have_no_influence(image_format: str, appended: bytes) -> None:
    data = encode(image_format)
    assert read(data + appended) == read(data)
    assert read(data + appended).state == "absent"


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"Comment": "Created with GIMP", "Description": "a garden", "Source": "a camera"},
        {"parameters": "f = 50 mm"},
        {"parameters": "[" * 5000},
        {"prompt": "[" * 100_000},
        {"prompt": "{}"},
        {"parameters": "1"},
        {"parameters": '{"mirror": false, "sensor": "rear"}'},
        {"prompt": "say cheese"},
        {"invokeai_metadata": "[1]"},
        {"Dream": '"' + " " * 10_000},
    ],
)
def test_other_texts_are_no_evidence(texts: dict[str, str]) -> None:
    assert read(save(texts)).state == "absent"


@pytest.mark.parametrize("name", [["5", 0], {"a": 1}])
def test_a_graph_on_which_the_parser_fails_is_not_absent(name: object) -> None:
    nodes = {**NODES, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}}
    with pytest.raises(ChangelingError, match="no parser understands the JSON of 'prompt'"):
        read(save({"prompt": json.dumps(nodes)}))
    item = EvidenceReader().read(ImageFile("x", save({"prompt": json.dumps(nodes)})))[-1]
    assert (item.kind, item.state) == ("generator parameters", "unreadable")


def test_an_ordinary_comment_is_no_evidence() -> None:
    for comment in (b"ASCII\0\0\0Steps to the beach", b"\0" * 8, b"ASCII", b"", b"UNICODE\0\xff"):
        assert read(encode_with_exif("JPEG", {}, {COMMENT: comment})).state == "absent"


@pytest.mark.parametrize(("key", "length"), [("parameters", 20_000), ("Source", 300)])
def test_a_field_that_is_too_long_is_an_error(key: str, length: int) -> None:
    with pytest.raises(ChangelingError, match=f"the field '{key}' has {length:,} characters"):
        read(save({key: "x" * length}, compressed=True))


def test_links_of_a_graph_are_not_followed() -> None:
    count = 1500
    nodes = {str(number): {"class_type": "Link", "inputs": {}} for number in range(count)}
    inputs: dict[str, Any] = {**NODES["3"]["inputs"], "model": ["0", 0], "positive": ["0", 0]}
    sampler = {"class_type": "KSampler", "inputs": inputs}
    nodes |= {f"s{number}": sampler for number in range(count)}
    links = [[number, number + 1, 0, number, 0, "MODEL"] for number in range(count)]
    found = read(save({"prompt": json.dumps(nodes), "workflow": json.dumps({"links": links})}))
    assert found.details["sampler"] == "euler"


@given(st.binary(max_size=100), st.sampled_from(["parameters", "prompt", "Dream", "sd-metadata", "invokeai_metadata"]))
@settings(max_examples=50)
def test_random_texts_are_no_evidence(text: bytes, key: str) -> None:
    image = Image.new("RGB", (1, 1))
    image.format = "PNG"
    image.info[key] = text.decode("latin-1")
    assert read_generator_parameters(image).state == "absent"


def test_without_the_library_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sd_parsers.parsers", None)
    found = read(save({"parameters": WEB_UI}))
    assert found.state == "unavailable"
    assert "pip install 'changeling[evidence]'" in found.summary
    assert read(save({})).state == "absent"
