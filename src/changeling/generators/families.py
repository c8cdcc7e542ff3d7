"""The table of generator families, and how a generator of a family is loaded."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from changeling.errors import BuildError

if TYPE_CHECKING:
    from changeling.generators.base import Generator, GeneratorFamily
    from changeling.generators.settings import GeneratorSettings

Kind = Literal["text-to-image", "reconstruction"]
_LIBRARIES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of a family before its libraries are imported.

    Attributes:
        location: the class, as "module:Class". It is imported only when a generator is used.
        uses_captions: whether there is one child for each caption; if not, there is one for each parent.
        settings: the settings that it takes beside kind, model and revision; None: all of them.
    """

    location: str
    uses_captions: bool = True
    settings: frozenset[str] | None = None


FAMILIES: dict[Kind, Family] = {
    "text-to-image": Family("changeling.generators.text_to_image:TextToImage"),
    "reconstruction": Family(
        "changeling.generators.reconstruction:Reconstruction", uses_captions=False, settings=frozenset({"precision"})
    ),
}


def load_generator(settings: GeneratorSettings, root: Path, threads: int | None = None) -> Generator:
    """Load a generator. Local models are looked for below the folder `root`.

    On a CPU the work is shared by `threads`, by default as many as PyTorch chooses; the last bit of the pixels
    depends on their number.

    Raises:
        BuildError: a library is missing, or the model cannot be fetched, loaded, or used with these settings.
    """
    family = _import_family(settings)
    from changeling.generators.runtime import prepare_libraries

    prepare_libraries(threads)
    return family(settings, root)


def fetch_generator(settings: GeneratorSettings, root: Path) -> None:
    """Fetch all files of a generator without loading it, and check that they can be used with these settings.

    Raises:
        BuildError: a library is missing, or the files cannot be fetched or used.
    """
    family = _import_family(settings)
    from changeling.generators.runtime import prepare_libraries

    prepare_libraries()
    family.fetch_files(settings, root)


def _import_family(settings: GeneratorSettings) -> GeneratorFamily:
    if not all(importlib.util.find_spec(library) for library in _LIBRARIES):
        raise BuildError(f"{settings.model} needs diffusers: pip install 'changeling[generate]'")
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # before the import of a family, which may warn that torchvision is missing
    module, _, name = FAMILIES[settings.kind].location.partition(":")
    family: GeneratorFamily = getattr(importlib.import_module(module), name)
    return family
