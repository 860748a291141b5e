"""Options -> network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvseg.train.network.encoder_decoder import EncoderDecoder
from lvseg.train.network.options import NetworkOptions

__all__ = ["build", "count_parameters"]


def build(options: NetworkOptions) -> nn.Module:
    """Network ``[N, 1, Y, X]`` -> logits ``[N, 1, Y, X]``; weights from torch's global generator.

    ``residual-unet`` needs sides that are multiples of 2 ** (levels - 1); the encoder-decoder
    family takes any sides from that on.
    """
    if options.kind == "residual-unet":
        network = _residual_unet(options)
    else:
        network = EncoderDecoder(options)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _residual_unet(options: NetworkOptions) -> nn.Module:
    from monai.networks.nets import UNet

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
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable weights."""
    weights: list[Tensor] = list(network.parameters())
    return sum(weight.numel() for weight in weights)
