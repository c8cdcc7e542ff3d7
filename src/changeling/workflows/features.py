"""Extract features."""

from __future__ import annotations

from changeling.backbones.registry import TextBackbone, load_backbone
from changeling.datasets.dataset import Dataset
from changeling.features.captions import extract_captions
from changeling.features.extract import extract
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
    loaded = load_backbone(backbone, progress)
    if isinstance(loaded, TextBackbone):  # first, so that features of images imply those of captions
        extract_captions(dataset, loaded, progress=progress)
    extract(dataset, loaded, progress=progress)
    return load_features(dataset, loaded.name)
