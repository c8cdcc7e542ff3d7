"""Extract features."""

from __future__ import annotations

from changeling.backbones.registry import Backbone, TextBackbone, load_backbone
from changeling.backbones.text_encoder import load_text_encoder
from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.features.captions import extract_captions
from changeling.features.extract import Summary, extract
from changeling.features.store import Features, load_features
from changeling.progress import Progress, silent


def extract_features(dataset: Dataset, backbone: str, *, progress: Progress = silent) -> Features:
    """Extract what a dataset lacks of the features by a backbone, and return all of them.

    They are stored in the dataset, so that a second call only reads them. A backbone with a text tower encodes the
    captions, too. For names of backbones see `load_backbone`.

    Raises:
        BackboneError, WeightsError: the backbone cannot be loaded.
        FeatureError: features exist of other images or by other weights, no image can be read, or the disk is full.
    """
    name = extract_missing_features(dataset, backbone, progress=progress)
    return load_features(dataset, name)


def extract_missing_features(
    dataset: Dataset, backbone: str, ray_address: str = "", *, note: Note = ignore_note, progress: Progress = silent
) -> str:
    """Extract what a dataset lacks of the features by a backbone, as `extract_features` does, or on a Ray cluster.

    `note` is called with the number of images. Returns the name of the backbone, without `@LAYER` if that is the
    default layer.
    """
    loaded = load_backbone(backbone, progress)
    if isinstance(loaded, TextBackbone):  # first, so that features of images imply those of captions
        extract_captions(dataset, loaded, progress=progress)
    summary = _extract_images(dataset, loaded, ray_address, progress)
    failed = ", ".join(f"{count} {status}" for status, count in sorted(summary.failed.items()))
    note(
        f"{loaded.name}: {summary.encoded} images encoded, {summary.existing} were done already"
        + (f"; without a feature: {failed}" if failed else "")
    )
    return loaded.name


def encode_captions(
    dataset: Dataset, text_encoder: str, *, note: Note = ignore_note, progress: Progress = silent
) -> None:
    """Extract what a dataset lacks of the features of captions by a text encoder.

    Raises:
        BackboneError, WeightsError: the text encoder cannot be loaded.
    """
    extract_captions(dataset, load_text_encoder(text_encoder, progress), progress=progress)
    note(f"{text_encoder}: {dataset.captions.num_rows} captions are encoded")


def _extract_images(dataset: Dataset, backbone: Backbone, ray_address: str, progress: Progress) -> Summary:
    if ray_address:
        from changeling.distributed.extract import extract_on_ray

        return extract_on_ray(dataset, backbone, ray_address, progress)
    return extract(dataset, backbone, progress=progress)
