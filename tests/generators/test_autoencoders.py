"""Which autoencoder a folder has; tiny autoencoders are converted and run as their author's are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file
from scripts.convert_taesd import main as convert

from changeling.generators.families import load_generator
from changeling.generators.presets import read_presets
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.generators import author
from tests.generators.requests import RECONSTRUCTION, check_refused, make_child

TAESD = helpers.SHARED_MODELS / "taesd"
PSNR = {"taesd": 22.9, "taesdxl": 22.9, "taesd3": 27.6, "taef1": 26.5, "taef2": 28.9}  # dB, the lowest seen
needs_weights = pytest.mark.skipif(
    not (TAESD.exists() and helpers.SHARED.exists()), reason="the weights of TAESD or the photographs are not here"
)


def reconstruct(folder: Path, image: Image.Image) -> Image.Image:
    """The image after a round trip through the autoencoder of a folder."""
    generator = load_generator(RECONSTRUCTION.model_copy(update={"model": folder.name}), folder.parent)
    image.save(folder.parent / "parent.png")
    (made,) = generator.draw([make_child(0, folder.parent / "parent.png")], [0])
    assert made is not None
    return made


def as_tensor(image: Image.Image) -> torch.Tensor:
    """The pixels as (1, 3, height, width) in [0, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]


def test_a_tiny_autoencoder_is_run_as_diffusers_runs_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    widths = {f"{half}_block_out_channels": (8, 8, 8, 8) for half in ("encoder", "decoder")}
    model = AutoencoderTiny(latent_channels=16, **widths).eval()
    model.save_pretrained(tmp_path / "tiny")
    image = helpers.natural(1, 48).crop((0, 0, 45, 40))
    made = reconstruct(tmp_path / "tiny", image)
    padded = np.pad(np.asarray(image), ((0, 0), (0, 3), (0, 0)), mode="edge")
    with torch.no_grad():
        latents = model.encode(as_tensor(Image.fromarray(padded)) * 2 - 1).latents
        decoded = model.decode(latents).sample[0].permute(1, 2, 0).numpy()[:, :45]
    assert latents.shape == (1, 16, 5, 6)
    assert np.abs(np.asarray(made) - ((decoded + 1) * 127.5).clip(0, 255)).max() <= 0.51
    settings = RECONSTRUCTION.model_copy(update={"model": "tiny"})
    assert load_generator(settings, tmp_path).record["pipeline"] == "AutoencoderTiny"


@pytest.mark.parametrize(("name", "channels"), [("taesd", 4), ("taef1", 16), ("taef2", 32)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_converted_weights_give_what_the_authors_model_gives(
    name: str, channels: int, suffix: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    halves = {half: author.random_weights(half, channels) for half in ("encoder", "decoder")}
    (tmp_path / "author").mkdir()
    for half, weights in halves.items():
        path = tmp_path / "author" / f"{name}_{half}{suffix}"
        if suffix == ".pth":
            torch.save(weights, path)
        else:
            save_file(weights, path)
    convert(tmp_path / "author", tmp_path / "models")
    image = helpers.natural(2, 32)
    made = reconstruct(tmp_path / "models" / name, image)
    values = as_tensor(image)
    for half, weights in halves.items():
        values = author.run(weights, author.layers(half, channels), values)
    expected = (values[0].permute(1, 2, 0).numpy() * 255).clip(0, 255)
    assert np.ptp(expected) > 50
    assert np.abs(np.asarray(made) - expected).max() <= 0.51


def test_weights_of_another_model_are_not_converted(tmp_path: Path) -> None:
    for half in ("encoder", "decoder"):
        save_file(author.random_weights(half, 16), tmp_path / f"taesd_{half}.safetensors")
    with pytest.raises(RuntimeError, match="size mismatch"):
        convert(tmp_path, tmp_path / "models")


def test_a_folder_without_weights_is_not_converted(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no files such as taesd_encoder\.safetensors"):
        convert(tmp_path, tmp_path / "models")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b'{"_class_name": "UNet2DConditionModel"}', "'UNet2DConditionModel' is not an autoencoder that is supported"),
        (b'{"_class_name": null}', "None is not an autoencoder that is supported: AutoencoderKL, AutoencoderTiny"),
        (b"[]", "None is not an autoencoder that is supported"),
        (b"{", r"config\.json cannot be read"),
    ],
)
def test_another_model_than_an_autoencoder_is_refused(config: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_bytes(config)
    check_refused(RECONSTRUCTION.model_copy(update={"model": "other"}), tmp_path, message)


def test_wrong_weights_of_taef2_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    save_file({"encoder.layers.0.weight": torch.zeros(2)}, tmp_path / "other" / "taef2.safetensors")
    check_refused(RECONSTRUCTION.model_copy(update={"model": "other"}), tmp_path, "other cannot be loaded")


@pytest.mark.parametrize("name", PSNR)
def test_each_tiny_autoencoder_is_a_preset(name: str) -> None:
    settings = GeneratorSettings.model_validate(read_presets()[f"reconstruction-{name}"])
    assert (settings.kind, settings.model) == ("reconstruction", f"madebyollin/{name}")


def test_version_2_1_is_the_checkpoint_for_its_size() -> None:
    settings = GeneratorSettings.model_validate(read_presets()["stable-diffusion-v2.1"])
    assert (settings.size, settings.model.endswith("-base")) in ((512, True), (768, False))


@pytest.fixture(scope="module")
def true_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted weights of the five tiny autoencoders."""
    folder = tmp_path_factory.mktemp("taesd")
    convert(TAESD, folder)
    return folder


@pytest.fixture(scope="module")
def true_reconstructions(true_models: Path) -> dict[str, list[tuple[Image.Image, Image.Image]]]:
    """The centres of three photographs, 256 pixels wide, each with its reconstruction by each autoencoder."""
    crops = []
    for path in sorted((helpers.SHARED / "coco_mini").glob("*.jpg"))[:6:2]:
        photograph = Image.open(path).convert("RGB")
        left, top = (photograph.width - 256) // 2, (photograph.height - 256) // 2
        crops.append(photograph.crop((left, top, left + 256, top + 256)))
    return {name: [(crop, reconstruct(true_models / name, crop)) for crop in crops] for name in PSNR}


@needs_weights
@pytest.mark.parametrize("name", PSNR)
def test_true_weights_reconstruct_photographs(
    name: str, true_reconstructions: dict[str, list[tuple[Image.Image, Image.Image]]]
) -> None:
    errors = [
        np.mean((np.asarray(made, float) - np.asarray(crop, float)) ** 2) for crop, made in true_reconstructions[name]
    ]
    assert np.mean(10 * np.log10(255**2 / np.array(errors))) > PSNR[name] - 1


@needs_weights
def test_true_weights_leave_different_traces(
    true_reconstructions: dict[str, list[tuple[Image.Image, Image.Image]]],
) -> None:
    assert len({pairs[0][1].tobytes() for pairs in true_reconstructions.values()}) == len(PSNR)
