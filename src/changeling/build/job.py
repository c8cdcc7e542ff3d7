"""What a build is made of, and what of it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from changeling.build.children import Parents
from changeling.build.parts import PARENTS, PART_SIZE, BuildParts, build_parts
from changeling.build.settings import BuildSettings
from changeling.generators.base import Child
from changeling.generators.settings import GeneratorSettings


@dataclass(frozen=True, slots=True)
class Build:
    """All that a build is made of.

    Attributes:
        output: the dataset folder that is made.
        root: the folder that local models are looked for in.
        part_size: how many images a part has.
    """

    parents: Parents
    output: Path
    generators: dict[str, GeneratorSettings]
    settings: BuildSettings
    seed: int
    root: Path
    part_size: int = PART_SIZE

    def count(self, name: str) -> int:
        """How many images there are to be, of a generator or of `PARENTS`."""
        return len(self.parents) if name == PARENTS else self.parents.count(self.generators[name])

    def parts(self, name: str) -> BuildParts:
        """The parts of a generator or of `PARENTS`, written or not."""
        return build_parts(self.output, name, self.count(name), self.part_size)

    def children(self, name: str, index: int) -> list[Child]:
        """The children of one part."""
        start, stop = self.parts(name).row_range(index)
        return self.parents.children(name, self.generators[name], self.seed, start, stop)

    @property
    def stores(self) -> list[BuildParts]:
        """The parts of the parents, then those of each generator."""
        return [self.parts(name) for name in (PARENTS, *self.generators)]

    @property
    def paths(self) -> list[Path]:
        """The paths of all part files, written or not, parents first."""
        return [path for store in self.stores for path in store.paths]
