"""Reconstructions are the autoencoders' own round trips, at the parent's size."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from changeling.build.draw import draw_part
from changeling.errors import BuildError, ImageError
from changeling.generators.base import Generator
from changeling.generators.families import load_generator
from tests import helpers
from tests.generators.requests import RECONSTRUCTION, check_refused, make_child


def reconstruct(generator: Generator, path: Path) -> Image.Image:
    (image,) = generator.draw([make_child(0, path)], [0])
    assert image is not None
    return image


@pytest.mark.parametrize("size", [(64, 64), (64, 40), (61, 43), (9, 17)])
def test_a_reconstruction_is_the_autoencoders_own_round_trip_at_the_parents_size(
    size: tuple[int, int], models: Path, tmp_path: Path
) -> None:
    helpers.natural(5, 64).crop((0, 0, *size)).save(tmp_path / "parent.png")
    made = reconstruct(load_generator(RECONSTRUCTION, models), tmp_path / "parent.png")
    assert (made.mode, made.size) == ("RGB", size)
    vae = diffusers.AutoencoderKL.from_pretrained(models / "vae")
    width, height = size
    edge = helpers.natural(5, 64).crop((0, 0, *size))
    given = np.pad(np.asarray(edge), ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    with torch.no_grad():
        latents = vae.encode(torch.from_numpy(given / 127.5 - 1).float().permute(2, 0, 1)[None]).latent_dist.mode()
        out = vae.decode(latents).sample[0].permute(1, 2, 0).numpy()[:height, :width]
    expected = ((out + 1) * 127.5).clip(0, 255)
    assert np.abs(np.asarray(made) - expected).max() <= 0.51
    pipelines = load_generator(RECONSTRUCTION.model_copy(update={"model": "sd"}), models)  # whose part it is
    assert made.tobytes() == reconstruct(pipelines, tmp_path / "parent.png").tobytes()


def test_reconstructions_are_drawn_in_order_and_seeds_play_no_part(models: Path, tmp_path: Path) -> None:
    generator = load_generator(RECONSTRUCTION, models)
    for number, side in enumerate((40, 24, 32)):
        helpers.natural(number, side).save(tmp_path / f"{number}.png")
    some = [make_child(number, tmp_path / f"{number}.png") for number in range(3)]
    made = generator.draw(some, [1, 2, 3])
    assert [image.size[0] for image in made if image] == [40, 24, 32]
    assert [image.tobytes() for image in made if image] == [
        image.tobytes() for one in some for image in generator.draw([one], [9]) if image
    ]
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        generator.draw([*some, make_child(3, tmp_path / "3.png")], [1, 2, 3, 4])


def test_a_folder_without_an_autoencoder_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "sd" / "unet", tmp_path / "other")
    check_refused(
        RECONSTRUCTION.model_copy(update={"model": "other"}),
        tmp_path,
        r"other: 'UNet2DConditionModel' is not an autoencoder that is supported",
    )
    (tmp_path / "empty").mkdir()
    check_refused(
        RECONSTRUCTION.model_copy(update={"model": "empty"}),
        tmp_path,
        r"empty has no config.json: it is neither an autoencoder nor a pipeline with one",
    )


def test_a_parent_too_large_for_the_device_costs_its_own_child_alone(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(RECONSTRUCTION, models)
    for number, side in enumerate((40, 96, 32)):
        helpers.natural(number, side).save(tmp_path / f"{number}.png")
    encode = generator._model.encode  # type: ignore[attr-defined]

    def fits(given: torch.Tensor) -> Any:
        if given.shape[-1] > 64:
            raise torch.OutOfMemoryError
        return encode(given)

    monkeypatch.setattr(generator._model, "encode", fits)  # type: ignore[attr-defined]
    drawn, _ = draw_part(generator, [make_child(number, tmp_path / f"{number}.png") for number in range(3)], 0, 2)
    assert [one.status for one in drawn] == ["ok", "oversized", "ok"]
    assert "1.png: 96 x 96 pixels are too many for the device's memory" in str(drawn[1].error)


def test_a_device_that_is_full_ends_the_build_rather_than_leaving_children_out(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(RECONSTRUCTION, models)
    helpers.natural(0).save(tmp_path / "parent.png")

    def full(_: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(generator._model, "encode", full)  # type: ignore[attr-defined]
    with pytest.raises(BuildError, match="the device has too little memory for one child"):
        draw_part(generator, [make_child(0, tmp_path / "parent.png")], 0, 1)
