"""Describe a network, then build it."""

from __future__ import annotations

import torch
from monai.networks.nets import UNet
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

__all__ = ["NetworkOptions", "build", "count_parameters"]


class NetworkOptions(BaseModel):
    """A residual U-Net (Ronneberger 2015; Kerfoot 2018 for the residual units).

    :param widths: channels of each level; every level halves the resolution, the first included,
        so the costly full-resolution convolutions are left to one transposed convolution.
    :param residual_units: 3x3 convolutions per residual unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    residual_units: int = 2
    dropout: float = 0.0


def build(options: NetworkOptions) -> nn.Module:
    """Network ``[N, 1, Y, X]`` -> logits ``[N, 1, Y, X]``, sides multiples of 2 ** (levels - 1)."""
    network: nn.Module = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=options.widths,
        strides=(2,) * (len(options.widths) - 1),
        num_res_units=options.residual_units,
        norm="BATCH",
        dropout=options.dropout,
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable weights."""
    weights: list[Tensor] = list(network.parameters())
    return sum(weight.numel() for weight in weights)
