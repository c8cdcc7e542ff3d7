"""Features: extract, import features, import caption-features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeling.commands.shared import BackboneOption, DatasetArgument, RayOption, print_note

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
    from changeling.progress import progress_bars_or_lines
    from changeling.workflows.features import encode_captions, extract_missing_features

    with progress_bars_or_lines() as progress:
        if backbone in TEXT_ENCODERS:
            encode_captions(Dataset(dataset), backbone, note=print_note, progress=progress)
        else:
            extract_missing_features(Dataset(dataset), backbone, ray, note=print_note, progress=progress)


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
