"""What a build is made of, and what of it is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from changeling.build.children import Parents
from changeling.build.parts import PARENTS, PART, count_parts, part_path
from changeling.build.settings import BuildSettings
from changeling.generators.base import Child
from changeling.generators.settings import GeneratorSettings


@dataclass(frozen=True, slots=True)
class Build:
    """All that a build is made of.

    Attributes:
        output: the dataset folder that is made.
        root: the folder that local models are looked for in.
    """

    parents: Parents
    output: Path
    generators: dict[str, GeneratorSettings]
    settings: BuildSettings
    seed: int
    root: Path

    def count(self, name: str) -> int:
        """How many images there are to be, of a generator or of `PARENTS`."""
        return len(self.parents) if name == PARENTS else self.parents.count(self.generators[name])

    def size(self, name: str, parts: Iterable[int]) -> int:
        """How many images there are to be in these parts."""
        return sum(min(PART, self.count(name) - index * PART) for index in parts)

    def missing(self, name: str) -> list[int]:
        """The parts that are not there yet, in order."""
        return [index for index, path in enumerate(self.paths_of(name)) if not path.exists()]

    def children(self, name: str, index: int) -> list[Child]:
        """The children of one part."""
        start = index * PART
        return self.parents.children(name, self.generators[name], self.seed, start, start + PART)

    def paths_of(self, name: str) -> list[Path]:
        """All parts that there are to be, of a generator or of `PARENTS`."""
        return [part_path(self.output, name, index) for index in range(count_parts(self.count(name)))]

    @property
    def paths(self) -> list[Path]:
        """All parts that there are to be, parents first."""
        return [path for name in (PARENTS, *self.generators) for path in self.paths_of(name)]
