"""Tiny autoencoders in their author's layout: random weights, and the forward pass without diffusers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]
WIDTH = 64  # channels


def layers(half: str, latent_channels: int) -> list[str]:
    """The kind of each layer of an encoder or decoder, in order."""
    if half == "encoder":
        stages = [["block", "down"], ["block"] * 3 + ["down"], ["block"] * 3 + ["down"]]
        return ["conv", *itertools.chain(*stages), *[_deepest(latent_channels)] * 3, "conv"]
    stages = [["up", "conv without bias", *["block"] * count] for count in (3, 3, 1)]
    return ["clamp", "conv", "relu", *[_deepest(latent_channels)] * 3, *itertools.chain(*stages), "conv"]


def _deepest(latent_channels: int) -> str:
    return "pooled block" if latent_channels == 32 else "block"


def random_weights(half: str, latent_channels: int) -> Weights:
    """Random weights, by the parameter names of the author's nn.Sequential."""
    kinds = layers(half, latent_channels)
    ends = {"encoder": (3, latent_channels), "decoder": (latent_channels, 3)}[half]
    convs = [index for index, kind in enumerate(kinds) if kind in ("conv", "down", "conv without bias")]
    weights: Weights = {}
    for index, kind in enumerate(kinds):
        if index in convs:
            inputs = ends[0] if index == convs[0] else WIDTH
            outputs = ends[1] if index == convs[-1] else WIDTH
            weights[f"{index}.weight"] = torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5
            if kind == "conv":
                weights[f"{index}.bias"] = torch.randn(outputs) / 10
        if "block" in kind:
            for conv in (0, 2, 4):
                weights[f"{index}.conv.{conv}.weight"] = torch.randn(WIDTH, WIDTH, 3, 3) / (9 * WIDTH) ** 0.5
                weights[f"{index}.conv.{conv}.bias"] = torch.randn(WIDTH) / 10
        if kind == "pooled block":
            weights[f"{index}.pool.0.weight"] = torch.randn(4 * WIDTH, WIDTH, 1, 1) / WIDTH**0.5
            weights[f"{index}.pool.1.weight"] = torch.rand(4 * WIDTH) + 0.5
            weights[f"{index}.pool.1.bias"] = torch.randn(4 * WIDTH) / 10
            weights[f"{index}.pool.3.weight"] = torch.randn(WIDTH, 4 * WIDTH, 1, 1) / (4 * WIDTH) ** 0.5
    return weights


def run(weights: Weights, kinds: Sequence[str], values: Tensor) -> Tensor:
    """The output of an encoder or decoder for (1, channels, height, width); images are in [0, 1]."""
    for index, kind in enumerate(kinds):
        values = _run_layer(weights, kind, str(index), values)
    return values


def _run_layer(weights: Weights, kind: str, index: str, values: Tensor) -> Tensor:
    if kind == "clamp":
        return torch.tanh(values / 3) * 3
    if kind == "relu":
        return functional.relu(values)
    if kind == "up":
        return values.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    if "block" not in kind:
        return _convolve(weights, index, values, stride=2 if kind == "down" else 1)
    if kind == "pooled block":
        pooled = functional.conv2d(values, weights[f"{index}.pool.0.weight"])
        pooled = functional.group_norm(pooled, 4, weights[f"{index}.pool.1.weight"], weights[f"{index}.pool.1.bias"])
        values = values + functional.conv2d(functional.relu(pooled), weights[f"{index}.pool.3.weight"])
    inner = functional.relu(_convolve(weights, f"{index}.conv.0", values))
    inner = functional.relu(_convolve(weights, f"{index}.conv.2", inner))
    return functional.relu(_convolve(weights, f"{index}.conv.4", inner) + values)


def _convolve(weights: Weights, name: str, values: Tensor, stride: int = 1) -> Tensor:
    return functional.conv2d(values, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride=stride, padding=1)
