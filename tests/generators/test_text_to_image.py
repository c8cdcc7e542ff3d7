"""Generators are diffusers' own pipelines; a child depends on its caption, its seed and the record alone."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from changeling.build.draw import draw_part
from changeling.errors import BuildError
from changeling.generators.base import Generator, OutOfMemoryError
from changeling.generators.families import load_generator
from changeling.generators.runtime import select_dtype
from tests import helpers
from tests.backbones.hub import Harmful
from tests.build.builds import drawing
from tests.generators.requests import RECONSTRUCTION, check_refused, make_child
from tests.generators.tiny import SIDE, changed

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Loaded = Callable[..., Generator]


@pytest.fixture(scope="module")
def loaded(models: Path) -> Loaded:
    """Load each generator once; for tests that only draw."""
    known: dict[str, Generator] = {}

    def get(model: str, **more: Any) -> Generator:
        settings = drawing(model, **more)
        key = settings.model_dump_json()
        if key not in known:
            known[key] = load_generator(settings, models)
        return known[key]

    return get


@pytest.fixture(scope="module")
def sd(loaded: Loaded) -> Generator:
    return loaded("sd")


@pytest.fixture
def threads() -> Iterator[None]:
    """Put back how many threads share the work."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def draw(generator: Generator, *numbers: int) -> list[Image.Image | None]:
    """What a generator draws of some children at once."""
    some = [make_child(number) for number in numbers]
    return generator.draw(some, [one.seed for one in some])


def pixels(images: Sequence[Image.Image | None]) -> np.ndarray:
    """All of them, none of which is flagged."""
    assert None not in images
    return np.stack([np.asarray(image) for image in images]).astype(np.int64)


@cache
def load_diffusers(folder: Path) -> tuple[Any, Any]:
    """A pipeline as diffusers loads it, and its scheduler."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, pipeline.scheduler


def run_diffusers(folder: Path, number: int, **more: Any) -> tuple[np.ndarray, list[bool] | None]:
    """What diffusers itself gives of a child, and what its safety checker says."""
    pipeline, scheduler = load_diffusers(folder)
    pipeline.scheduler = more.pop("scheduler", type(scheduler)).from_config(scheduler.config)
    arguments = {"num_inference_steps": 1, "guidance_scale": 7.5, "height": SIDE, "width": SIDE} | more
    seed = torch.Generator("cpu").manual_seed(make_child(number).seed)
    made = pipeline(make_child(number).prompt, generator=seed, **arguments)
    return pixels(made.images), getattr(made, "nsfw_content_detected", None)


# What is drawn


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"steps": 2},
        {"guidance": 1.0},
        {"size": 32},
        {"negative_prompt": "bad hands"},
        {"scheduler": "DDIMScheduler", "steps": 2},
        {"arguments": {"guidance_rescale": 0.7, "eta": 0.0}},
    ],
    ids=str,
)
def test_an_image_is_what_diffusers_gives_for_its_caption_and_seed(
    more: dict[str, Any], loaded: Loaded, models: Path
) -> None:
    generator = loaded("sd", **more)
    names = {"steps": "num_inference_steps", "guidance": "guidance_scale", "negative_prompt": "negative_prompt"}
    arguments = {name: more[key] for key, name in names.items() if key in more}
    if "size" in more:
        arguments |= {"height": more["size"], "width": more["size"]}
    if "scheduler" in more:
        arguments["scheduler"] = getattr(diffusers, more["scheduler"])
    expected, _ = run_diffusers(models / "sd", 3, **arguments, **more.get("arguments", {}))
    np.testing.assert_array_equal(pixels(draw(generator, 3)), expected)


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 2},
        {"guidance": 1.0},
        {"negative_prompt": "bad hands"},
        {"scheduler": "EulerAncestralDiscreteScheduler"},
        {"arguments": {"guidance_rescale": 0.7}},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' Euler with numpy 2
def test_each_setting_changes_the_picture_and_the_record(more: dict[str, Any], sd: Generator, loaded: Loaded) -> None:
    generator = loaded("sd", **more)
    assert not np.array_equal(pixels(draw(generator, 3)), pixels(draw(sd, 3)))
    assert generator.record != sd.record


def test_another_caption_or_seed_is_another_picture(sd: Generator) -> None:
    first = pixels(draw(sd, 3))
    assert not np.array_equal(first, pixels(sd.draw([make_child(3)], [make_child(3).seed + 1])))
    assert not np.array_equal(first, pixels(sd.draw([make_child(4)], [make_child(3).seed])))


def test_the_same_child_is_the_same_bytes_whatever_was_drawn_before(sd: Generator, models: Path) -> None:
    first = draw(sd, 3)
    draw(sd, 1, 2)
    assert pixels(draw(sd, 3)).tobytes() == pixels(first).tobytes()
    assert pixels(draw(load_generator(drawing("sd"), models), 3)).tobytes() == pixels(first).tobytes()


def test_the_batch_size_changes_few_pixels_by_one_grey_level(sd: Generator) -> None:
    together = pixels(draw(sd, *range(7)))
    alone = np.concatenate([pixels(draw(sd, number)) for number in range(7)])
    assert np.abs(together - alone).max() <= 1
    assert (together != alone).mean() < 0.01
    assert len({image.tobytes() for image in alone}) == 7


def test_images_are_rgb_and_of_the_requested_size(loaded: Loaded) -> None:
    (image,) = draw(loaded("sd", size=32), 0)
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (32, 32))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_sdxl_draws_without_the_watermark_that_it_would_add(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl

    class Marker:
        def apply_watermark(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(images)

    expected, _ = run_diffusers(models / "sdxl", 3)
    load_diffusers.cache_clear()
    monkeypatch.setattr(module, "is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(module, "StableDiffusionXLWatermarker", Marker, raising=False)
    marked, _ = run_diffusers(models / "sdxl", 3)
    load_diffusers.cache_clear()
    generator = load_generator(drawing("sdxl"), models)
    np.testing.assert_array_equal(pixels(draw(generator, 3)), expected)
    assert not np.array_equal(marked, expected)
    assert (generator.record["watermark"], generator.record["pipeline"]) == (False, "StableDiffusionXLPipeline")


# The safety checker


def test_a_flagged_image_is_none(loaded: Loaded, models: Path) -> None:
    assert draw(loaded("strict"), 0, 1) == [None, None]
    picky = loaded("picky")
    alone = [draw(picky, number)[0] is None for number in range(9)]
    assert 1 <= sum(alone) <= 6
    for number, flagged in enumerate(alone[:4]):
        assert run_diffusers(models / "picky", number)[1] == [flagged]
    together = draw(picky, *range(9))
    assert [image is None for image in together] == alone
    passed = [number for number, flagged in enumerate(alone) if not flagged]
    plain = pixels(draw(loaded("sd"), *range(9)))
    np.testing.assert_array_equal(pixels([together[number] for number in passed]), plain[passed])


def test_the_safety_checker_of_another_model_can_be_used(loaded: Loaded) -> None:
    bare = loaded("sd2")
    assert bare.record["safety_checker"] == "none: the model has none"
    strict = loaded("sd2", safety_checker="strict")
    assert draw(strict, 0, 1) == [None, None]
    assert strict.record["safety_checker"] == f"strict@{loaded('strict').record['revision']}"
    mild = loaded("sd2", safety_checker="sd")
    np.testing.assert_array_equal(pixels(draw(mild, 0, 1)), pixels(draw(bare, 0, 1)))
    over = loaded("strict", safety_checker="sd")  # instead of its own
    np.testing.assert_array_equal(pixels(draw(over, 0, 1)), pixels(draw(loaded("sd"), 0, 1)))


@pytest.mark.parametrize("model", ["strict", "sd2"])
def test_the_safety_checker_can_be_turned_off(model: str, loaded: Loaded) -> None:
    generator = loaded(model, safety_checker="off")
    assert generator.record["safety_checker"] == "off"
    np.testing.assert_array_equal(pixels(draw(generator, 0, 1)), pixels(draw(loaded("sd"), 0, 1)))


def test_a_checker_for_a_model_that_takes_none_is_refused(models: Path) -> None:
    check_refused(
        drawing("sdxl", safety_checker="sd"), models, r"sdxl: a StableDiffusionXLPipeline takes no safety checker"
    )
    assert load_generator(drawing("sdxl", safety_checker="off"), models).record["safety_checker"] == "off"
    check_refused(
        drawing("sd2", safety_checker="vae"),
        models,
        r"vae has no safety checker: there is no ",
    )


# What is refused


@pytest.mark.parametrize("name", ["DDIM", "UNet2DModel", "SchedulerMixin", "DiffusionPipeline"])
def test_an_unknown_scheduler_is_refused(name: str, models: Path) -> None:
    check_refused(drawing("sd", scheduler=name), models, rf"there is no scheduler '{name}' in diffusers; one is DDIM")


def test_an_unknown_argument_is_refused(models: Path) -> None:
    settings = drawing("sd", arguments={"max_sequence_length": 9})
    check_refused(settings, models, r"sd: a StableDiffusionPipeline takes no argument 'max_sequence_length'")


@pytest.mark.parametrize(
    "argument",
    [
        {"prompt": "a cat"},
        {"height": 32},
        {"num_inference_steps": 2},
        {"guidance_scale": 1.0},
        {"generator": 7},
        {"negative_prompt": "a dog"},
        {"num_images_per_prompt": 2},
        {"output_type": "latent"},
        {"return_dict": False},
    ],
    ids=str,
)
def test_a_reserved_argument_is_refused(argument: dict[str, Any], models: Path) -> None:
    (name,) = argument
    check_refused(drawing("sd", arguments=argument), models, rf"sd: arguments cannot set {name!r}")


@pytest.mark.parametrize(
    "kind",
    [
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionControlNetPipeline",
        "FluxImg2ImgPipeline",
        "StableDiffusionUpscalePipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "StableDiffusionImageVariationPipeline",
        "DDPMPipeline",
    ],
)
def test_a_pipeline_that_draws_nothing_from_text_alone_is_refused(kind: str, models: Path, tmp_path: Path) -> None:
    changed(models / "sd", tmp_path / "other", _class_name=kind)
    check_refused(drawing("other"), tmp_path, rf"other: a {kind} draws nothing from text alone")


@pytest.mark.parametrize("kind", ["AutoencoderKL", "NoPipeline", None, 7, ["pipeline", "Mine"], "os"], ids=str)
def test_a_pipeline_that_is_not_diffusers_own_is_refused_and_never_run(
    kind: object, models: Path, tmp_path: Path
) -> None:
    folder = changed(models / "sd", tmp_path / "other", _class_name=kind)
    (folder / "pipeline.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n")
    check_refused(
        drawing("other"), tmp_path, r"other: .* is no pipeline of diffusers; changeling runs no code of others"
    )
    assert not (tmp_path / "mark").exists()


def test_a_component_with_custom_code_is_refused_and_never_run(models: Path, tmp_path: Path) -> None:
    folder = changed(models / "sd", tmp_path / "other", unet=["mine", "Net"])
    (folder / "unet" / "mine.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n")
    check_refused(drawing("other"), tmp_path, r"other cannot be loaded")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "safety_checker"])
def test_weights_in_pickles_are_refused_and_never_read(part: str, models: Path, tmp_path: Path) -> None:
    folder = changed(models / "sd", tmp_path / "other")
    (weights,) = (folder / part).glob("*.safetensors")
    name = "diffusion_pytorch_model.bin" if part in ("unet", "vae") else "pytorch_model.bin"
    weights.with_name(name).write_bytes(pickle.dumps(Harmful(tmp_path / "mark")))
    weights.unlink()
    check_refused(drawing("other"), tmp_path, r"other cannot be loaded")
    if part == "vae":
        check_refused(RECONSTRUCTION.model_copy(update={"model": "other"}), tmp_path, r"other cannot be loaded")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("index", [None, b"{", b"\xff", b""])
def test_a_folder_that_holds_no_pipeline_is_refused(index: bytes | None, models: Path, tmp_path: Path) -> None:
    folder = changed(models / "sd", tmp_path / "other")
    (folder / "model_index.json").unlink()
    if index is not None:
        (folder / "model_index.json").write_bytes(index)
    check_refused(drawing("other"), tmp_path, r"model_index.json cannot be read, so this is no pipeline of diffusers")


@pytest.mark.parametrize("model", ["no-such-folder", "a/b/c", "https://example.org/x"])
def test_what_is_neither_a_folder_nor_an_id_is_refused(model: str, tmp_path: Path) -> None:
    check_refused(drawing(model), tmp_path, r"no such folder, and .* is no id of the Hugging Face Hub")


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_broken_weights_are_refused(damage: str, models: Path, tmp_path: Path) -> None:
    folder = changed(models / "sd", tmp_path / "other")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "gone":
        weights.unlink()
    else:
        shutil.copy(folder / "vae" / weights.name, weights)
    check_refused(drawing("other"), tmp_path, r"other cannot be loaded")


@pytest.mark.parametrize(
    "kind",
    [
        "StableDiffusion3Pipeline",
        "StableDiffusionXLPipeline",
        "FluxPipeline",
        "Flux2Pipeline",
        "QwenImage21Pipeline",
        "PixArtSigmaPipeline",
        "SanaPipeline",
        "AmusedPipeline",
    ],
)
def test_text_to_image_pipelines_that_also_accept_images_are_accepted(kind: str, models: Path, tmp_path: Path) -> None:
    """They come as far as to their weights, which are not there."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    check_refused(drawing("other"), tmp_path, r"other cannot be loaded")


# What a model may raise


@contextmanager
def failing(generator: Generator, error: Exception, fits: int = 0) -> Iterator[None]:
    """Let the generator's UNet raise for more than `fits` children at once."""

    def fail(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > 2 * fits:  # each with its caption, and without
            raise error

    hook = generator._pipeline.unet.register_forward_pre_hook(fail)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        hook.remove()


def test_a_batch_too_large_for_the_memory_is_halved(sd: Generator, tmp_path: Path) -> None:
    helpers.natural(0).save(tmp_path / "parent.png")
    some = [make_child(number, tmp_path / "parent.png") for number in range(5)]
    with failing(sd, torch.OutOfMemoryError("CUDA out of memory"), fits=2):
        with pytest.raises(OutOfMemoryError):
            draw(sd, 0, 1, 2)
        drawn, batch = draw_part(sd, some, 4, 8)
    assert batch == 2
    alike = [pixels(draw(sd, *group)) for group in ((0, 1), (2, 3), (4,))]
    np.testing.assert_array_equal(pixels([one.image for one in drawn]), np.concatenate(alike))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a kernel\nbroke"), ValueError("bad value"), IndexError("index out of range"), KeyError("a")],
    ids=lambda error: type(error).__name__,
)
def test_a_failing_model_ends_the_build_with_an_error_of_one_line(error: Exception, sd: Generator) -> None:
    message = r"sd fails: .+; fix this and start the build again: finished parts are kept"
    with failing(sd, error), pytest.raises(BuildError, match=message) as caught:
        draw(sd, 0)
    assert "\n" not in str(caught.value)


# Where models come from


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub fills it, with models of somebody; nothing else can be reached."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("sd", "sd2", "vae"):
        where = cache / f"models--somebody--{name}"
        shutil.copytree(models / name, where / "snapshots" / COMMIT)
        (where / "refs").mkdir()
        (where / "refs" / "main").write_text(COMMIT)
    return cache


@pytest.mark.parametrize("revision", ["", "main", COMMIT])
@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub_is_found_and_its_commit_recorded(revision: str, sd: Generator, tmp_path: Path) -> None:
    generator = load_generator(drawing("somebody/sd", revision=revision), tmp_path)
    assert generator.record["revision"] == COMMIT
    np.testing.assert_array_equal(pixels(draw(generator, 3)), pixels(draw(sd, 3)))


@pytest.mark.usefixtures("hub")
def test_a_checker_and_an_autoencoder_of_the_hub_are_found(models: Path, tmp_path: Path) -> None:
    generator = load_generator(drawing("somebody/sd2", safety_checker="somebody/sd"), tmp_path)
    assert generator.record["safety_checker"] == f"somebody/sd@{COMMIT}"
    for model in ("somebody/sd", "somebody/vae"):
        rebuilt = load_generator(RECONSTRUCTION.model_copy(update={"model": model}), tmp_path)
        assert rebuilt.record["revision"] == COMMIT


@pytest.mark.parametrize("kind", ["text-to-image", "reconstruction"])
@pytest.mark.parametrize(("model", "revision"), [("somebody/else", ""), ("somebody/sd", "f" * 40)])
@pytest.mark.usefixtures("hub")
def test_a_model_that_cannot_be_fetched_is_an_error_of_one_line(
    model: str, revision: str, kind: str, tmp_path: Path
) -> None:
    check_refused(
        drawing(model, kind=kind, revision=revision),
        tmp_path,
        rf"there is no folder {model}, and no way to the Hub: Cannot reach .*; connect to it, or let `model` ",
    )


@pytest.mark.usefixtures("hub")
def test_a_local_folder_overrides_the_hub(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "strict", tmp_path / "somebody" / "sd")
    generator = load_generator(drawing("somebody/sd"), tmp_path)
    assert generator.record["revision"].startswith("files ")
    assert draw(generator, 0) == [None]


def test_the_record_is_json_and_has_all_settings_of_the_pipeline(sd: Generator) -> None:
    record = json.loads(json.dumps(sd.record))
    assert record == sd.record
    assert record["scheduler"]["class"] == "PNDMScheduler"
    assert record["scheduler"]["beta_end"] == 0.012
    assert {"model": "sd", "steps": 1, "guidance": 7.5, "size": SIDE, "redraws": 4}.items() <= record.items()
    assert record["versions"].keys() == {"diffusers", "transformers", "torch", "numpy", "pillow"}
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (record["device"], record["precision"]) == ("cpu", "float32")


@pytest.mark.parametrize("kind", ["text-to-image", "reconstruction"])
def test_the_record_changes_with_any_file_of_a_folder(kind: str, models: Path, tmp_path: Path) -> None:
    folder = changed(models / "sd", tmp_path / "other")
    settings = drawing("other", kind=kind)
    seen = [load_generator(settings, tmp_path).record["revision"] for _ in range(2)]
    assert seen[0] == seen[1]
    weights = bytearray((folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    seen.append(load_generator(settings, tmp_path).record["revision"])
    (folder / "unet" / "config.json").write_text((folder / "unet" / "config.json").read_text() + "\n")
    seen.append(load_generator(settings, tmp_path).record["revision"])
    (folder / "notes.txt").write_text("")
    seen.append(load_generator(settings, tmp_path).record["revision"])
    (folder / "notes.txt").rename(folder / "unet" / "notes.txt")
    seen.append(load_generator(settings, tmp_path).record["revision"])
    assert len(set(seen)) == 5


def test_the_record_does_not_depend_on_the_location_of_the_folder(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "sd", tmp_path / "deep" / "sd")
    assert load_generator(drawing("sd"), tmp_path / "deep").record == load_generator(drawing("sd"), models).record


@pytest.mark.usefixtures("threads")
def test_the_number_of_cpu_threads_is_set_and_recorded(models: Path) -> None:
    for count in (2, 1):
        assert load_generator(RECONSTRUCTION, models, count).record["threads"] == torch.get_num_threads() == count
    assert load_generator(RECONSTRUCTION, models).record["threads"] == 1


def test_the_precision_applies_to_all_components(models: Path) -> None:
    generator = load_generator(drawing("sd", precision="bfloat16"), models)
    pipeline = generator._pipeline  # type: ignore[attr-defined]
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.safety_checker)
    assert {part.dtype for part in parts} == {torch.bfloat16}
    assert generator.record["precision"] == "bfloat16"
    rebuilt = load_generator(RECONSTRUCTION.model_copy(update={"precision": "bfloat16"}), models)
    assert rebuilt.record["precision"] == "bfloat16"


def test_the_default_precision_is_half_for_pipelines_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    half = torch.float16
    assert select_dtype(drawing("sd"), half) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_dtype(drawing("sd"), half) == half
    assert select_dtype(RECONSTRUCTION, torch.float32) == torch.float32
    assert select_dtype(RECONSTRUCTION.model_copy(update={"precision": "float16"}), torch.float32) == half
