"""Features: extract, import features, import caption-features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import BackboneOption, DatasetArgument, RayOption

if TYPE_CHECKING:
    from changeling.backbones.registry import Backbone
    from changeling.datasets.dataset import Dataset
    from changeling.features.extract import Summary
    from changeling.progress import Progress

FeatureFileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The features: .npy, .safetensors or .parquet; see docs/study.md.")
]
FeatureNameOption = Annotated[
    str, typer.Option(metavar="NAME", help="Store the features under this name, which a study calls a backbone.")
]
IdsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A text file with the ID of each row, one per line, if FILE has no IDs."),
]


def extract(dataset: DatasetArgument, backbone: BackboneOption, ray: RayOption = "") -> None:
    """Extract the features of images, and of captions if the backbone has a text tower.

    `minilm-l6` is a text encoder: it has features of captions only. Run again, the command continues where it stopped.
    """
    from changeling.backbones.text_encoder import TEXT_ENCODERS
    from changeling.datasets.dataset import Dataset

    if backbone in TEXT_ENCODERS:
        encode_captions(Dataset(dataset), backbone)
    else:
        extract_features(Dataset(dataset), backbone, ray)


def encode_captions(dataset: Dataset, text_encoder: str) -> None:
    """Extract the missing features of captions by a text encoder."""
    from changeling.backbones.text_encoder import load_text_encoder
    from changeling.features.captions import extract_captions
    from changeling.progress import progress_bars

    with progress_bars("bytes") as progress:
        encoder = load_text_encoder(text_encoder, progress)
    with progress_bars() as progress:
        extract_captions(dataset, encoder, progress=progress)
    typer.echo(f"{text_encoder}: {dataset.captions.num_rows} captions are encoded", err=True)


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


def import_features(
    dataset: DatasetArgument, file: FeatureFileArgument, backbone: FeatureNameOption, ids: IdsOption = None
) -> None:
    """Add features of images, which another program computed, to a dataset.

    Each row of the file has the image_id of its image. Images without a row have no feature, and are counted.
    """
    from changeling.datasets.dataset import Dataset
    from changeling.features.feature_file import read_feature_file
    from changeling.features.import_features import import_image_features

    opened = Dataset(dataset)
    missing = import_image_features(opened, read_feature_file(file, ids), backbone)
    typer.echo(
        f"{backbone}: features of {len(opened) - missing:,} of {len(opened):,} images"
        + (f"; {missing:,} have none in {file}" if missing else ""),
        err=True,
    )


def import_caption_features(
    dataset: DatasetArgument, file: FeatureFileArgument, backbone: FeatureNameOption, ids: IdsOption = None
) -> None:
    """Add features of captions, which another program computed, to a dataset.

    The ID of a caption is its cluster_id, a # and its caption_index. Retrieval compares the features with those of
    images that are stored under the same name.
    """
    from changeling.datasets.dataset import Dataset
    from changeling.features import import_features as importing
    from changeling.features.feature_file import read_feature_file

    opened = Dataset(dataset)
    importing.import_caption_features(opened, read_feature_file(file, ids), backbone)
    typer.echo(f"{backbone}: features of {opened.captions.num_rows:,} captions", err=True)
