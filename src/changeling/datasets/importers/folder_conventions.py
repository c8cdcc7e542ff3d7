"""What the folders of published benchmarks mean, by the name of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from changeling.datasets.importers.tables import SPLIT_NAMES
from changeling.datasets.schema import Split


class Convention(StrEnum):
    """The names of the conventions, as on the command line."""

    CNN_DETECTION = "cnn-detection"
    UNIVERSAL_FAKE_DETECT = "universal-fake-detect"
    AIGIBENCH = "aigibench"
    GENIMAGE = "genimage"


@dataclass(frozen=True, slots=True)
class FolderConvention:
    """The convention of a benchmark. The first folder that is not of a split names the generator, and the source.

    Attributes:
        real: the folder of real images, in lower case.
        fake: the folder of fake images, in lower case.
        splits: folders, in lower case, to splits.
        split: of images that are in no folder of a split.
        ignored_folders: folders, in lower case, that hold those of generators.
        class_folders: for splits whose first folder is a class of objects, the generator of all their images.
        class_exceptions: first folders of these splits, in lower case, that are generators after all.
    """

    real: str = "0_real"
    fake: str = "1_fake"
    splits: Mapping[str, Split] = field(default_factory=lambda: SPLIT_NAMES)
    split: Split = "test"
    ignored_folders: tuple[str, ...] = ()
    class_folders: Mapping[Split, str] = field(default_factory=dict)
    class_exceptions: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, str]:
        """The folders of real and of fake images."""
        return self.real, self.fake


_PROGAN_CLASSES: Mapping[Split, str] = {"train": "progan", "val": "progan"}  # one folder for each class of LSUN
_CNN_DETECTION = FolderConvention(class_folders=_PROGAN_CLASSES)

CONVENTIONS: Mapping[Convention, FolderConvention] = {
    # Wang et al. 2020: train/CLASS/0_real, test/GENERATOR[/CLASS]/0_real; https://github.com/PeterWang512/CNNDetection
    Convention.CNN_DETECTION: _CNN_DETECTION,
    # Ojha et al. 2023, the same with more generators, in two folders of datasets;
    # https://github.com/WisconsinAIVision/UniversalFakeDetect
    Convention.UNIVERSAL_FAKE_DETECT: FolderConvention(
        ignored_folders=("datasets", "diffusion_datasets"), class_folders=_PROGAN_CLASSES
    ),
    # Li et al. 2025: the folder sdv1.4 stands beside those of classes; https://github.com/HorizonTEL/AIGIBench
    Convention.AIGIBENCH: FolderConvention(class_folders=_PROGAN_CLASSES, class_exceptions=("sdv1.4",)),
    # Zhu et al. 2023: GENERATOR/train|val/nature|ai, and val is what is tested; https://github.com/GenImage-Dataset
    Convention.GENIMAGE: FolderConvention("nature", "ai", splits={"train": "train", "val": "test"}),
}
