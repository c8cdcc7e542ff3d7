"""Convert the weights of tiny autoencoders from their author's layout to the one that `kind = "reconstruction"` reads.

    python scripts/convert_taesd.py SOURCE TARGET

SOURCE is a folder with the files NAME_encoder and NAME_decoder (.safetensors or .pth) of taesd, taesdxl, taesd3, taef1
or taef2, as in the repository madebyollin/taesd. TARGET/NAME becomes a model's folder. Needs changeling[generate].
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from changeling.generators.autoencoders import TAEF2_WEIGHTS, Taef2

LATENT_CHANNELS = {"taesd": 4, "taesdxl": 4, "taesd3": 16, "taef1": 16}  # of those that diffusers has a class for
TAEF2 = "taef2"
FIRST_LAYER = {"encoder": 0, "decoder": 1}  # the author's decoders begin with a layer that diffusers has as a function


def main(source: Path, target: Path) -> None:
    """Convert every model whose files are in `source`."""
    names = [name for name in (*LATENT_CHANNELS, TAEF2) if list(source.glob(f"{name}_encoder.*"))]
    if not names:
        sys.exit(f"{source} has no files such as taesd_encoder.safetensors")
    for name in names:
        convert_model(name, source, target / name)
        print(target / name)


def convert_model(name: str, source: Path, folder: Path) -> None:
    """Write the model `name` of the folder `source` to `folder`. Raises RuntimeError if its parameters are others."""
    weights = read_weights(name, source)
    if name == TAEF2:  # in the layout of its repository: weights alone
        Taef2().load_state_dict(weights)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / TAEF2_WEIGHTS)
        return
    model = AutoencoderTiny(latent_channels=LATENT_CHANNELS[name])
    model.load_state_dict(weights)
    model.save_pretrained(folder)


def read_weights(name: str, source: Path) -> dict[str, Tensor]:
    """Read the encoder and decoder of a model; return them by their parameter names in AutoencoderTiny."""
    weights = {}
    for half, first in FIRST_LAYER.items():
        path = next(source.glob(f"{name}_{half}.*"))
        is_pickle = path.suffix == ".pth"
        loaded = torch.load(path, map_location="cpu", weights_only=True) if is_pickle else load_file(path)
        for key, value in loaded.items():
            layer, _, rest = key.partition(".")
            weights[f"{half}.layers.{int(layer) - first}.{rest}"] = value.contiguous()
    return weights


if __name__ == "__main__":
    if len(sys.argv) != 3 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
