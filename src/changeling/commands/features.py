"""Features: extract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from changeling.commands.shared import BackboneOption, DatasetArgument, RayOption

if TYPE_CHECKING:
    from changeling.backbones.registry import Backbone
    from changeling.datasets.dataset import Dataset
    from changeling.features.extract import Summary
    from changeling.progress import Progress


def extract(dataset: DatasetArgument, backbone: BackboneOption, ray: RayOption = "") -> None:
    """Extract the features of images, and of captions if the backbone has a text tower.

    Run again, it continues where it stopped.
    """
    from changeling.datasets.dataset import Dataset

    extract_features(Dataset(dataset), backbone, ray)


def extract_features(dataset: Dataset, backbone_name: str, ray_address: str = "") -> str:
    """Extract the missing features by a backbone; return the name of the backbone, without a default `@LAYER`."""
    from changeling.backbones import registry
    from changeling.features.captions import extract_captions
    from changeling.progress import progress_bars

    with progress_bars("bytes") as progress:
        backbone = registry.load_backbone(backbone_name, progress)
    with progress_bars() as progress:
        if isinstance(backbone, registry.TextBackbone):  # first, so that features of images imply those of captions
            extract_captions(dataset, backbone, progress=progress)
        summary = _extract_images(dataset, backbone, ray_address, progress)
    failed = ", ".join(f"{count} {status}" for status, count in sorted(summary.failed.items()))
    typer.echo(
        f"{backbone.name}: {summary.encoded} images encoded, {summary.existing} were done already"
        + (f"; without a feature: {failed}" if failed else ""),
        err=True,
    )
    return backbone.name


def _extract_images(dataset: Dataset, backbone: Backbone, ray_address: str, progress: Progress) -> Summary:
    if ray_address:
        from changeling.distributed.extract import extract_on_ray

        return extract_on_ray(dataset, backbone, ray_address, progress)

    from changeling.features.extract import extract

    return extract(dataset, backbone, progress=progress)
