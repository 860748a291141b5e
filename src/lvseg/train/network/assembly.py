"""Networks built from their options."""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn

from lvseg.train.network.encoder_decoder import EncoderDecoder
from lvseg.train.network.options import KINDS, NetworkOptions


def build(options: NetworkOptions, in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    """Network ``[N, in_channels, Y, X]`` -> logits ``[N, out_channels, Y, X]``.

    Its weights are drawn from torch's global generator.

    MONAI's kinds need sides that are multiples of 2 ** (levels - 1); the encoder-decoder family
    takes any sides from that on.
    """
    if options.kind in KINDS:
        network: nn.Module = EncoderDecoder(options, in_channels, out_channels)
    else:
        network = _of_monai(options, in_channels, out_channels)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _of_monai(options: NetworkOptions, in_channels: int, out_channels: int) -> nn.Module:
    from monai.networks import nets

    widths, dropout = options.widths, options.dropout
    shape = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": out_channels}
    strides = (2,) * (len(widths) - 1)
    network: nn.Module
    if options.kind == "monai-basic-unet":
        network = nets.BasicUNet(**shape, features=(*widths, widths[0]), dropout=dropout)
    elif options.kind == "monai-attention-unet":
        network = nets.AttentionUnet(**shape, channels=widths, strides=strides, dropout=dropout)
    elif options.kind == "monai-segresnet":
        groups = ("group", {"num_groups": gcd(8, widths[0])})
        network = nets.SegResNet(
            **shape, init_filters=widths[0], dropout_prob=dropout or None, norm=groups
        )
    else:
        units = options.residual_units
        network = nets.UNet(
            **shape,
            channels=widths,
            strides=strides,
            num_res_units=units,
            norm="BATCH",
            dropout=dropout,
        )
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable weights."""
    weights: list[Tensor] = list(network.parameters())
    return sum(weight.numel() for weight in weights)
