"""A build job: which children are made of which parents, by which generators, and where their parts are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from changeling.build.parents import Parents
from changeling.build.parts import PARENTS, PART_SIZE, BuildParts, build_parts
from changeling.build.settings import BuildSettings
from changeling.generators.base import Child
from changeling.generators.settings import GeneratorSettings


@dataclass(frozen=True, slots=True)
class Build:
    """Everything that defines a build.

    Attributes:
        output: the dataset folder that is built.
        root: the folder that paths of local models are relative to.
        part_size: how many images each part has.
    """

    parents: Parents
    output: Path
    generators: dict[str, GeneratorSettings]
    settings: BuildSettings
    seed: int
    root: Path
    part_size: int = PART_SIZE

    @property
    def names(self) -> tuple[str, ...]:
        """The names that parts are stored under: `PARENTS`, then those of the generators."""
        return (PARENTS, *self.generators)

    def count_images(self, name: str) -> int:
        """How many images a generator, or `PARENTS`, has when the build is finished."""
        return len(self.parents) if name == PARENTS else self.parents.count_children(self.generators[name])

    def parts(self, name: str) -> BuildParts:
        """The parts of a generator or of `PARENTS`, written or not."""
        return build_parts(self.output, name, self.count_images(name), self.part_size)

    def list_children(self, name: str, index: int) -> list[Child]:
        """The children of one part of a generator."""
        start, stop = self.parts(name).row_range(index)
        return self.parents.list_children(name, self.generators[name], self.seed, start, stop)

    @property
    def stores(self) -> list[BuildParts]:
        """The parts of the parents, then those of each generator."""
        return [self.parts(name) for name in self.names]

    @property
    def paths(self) -> list[Path]:
        """The paths of all part files, written or not, parents first."""
        return [path for store in self.stores for path in store.paths]
