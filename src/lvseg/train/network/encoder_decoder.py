"""Encoder-decoder networks from a plain one to the U-Net with attention, one class for all."""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional

from lvseg.train.network.attention import AttentionGate, Recalibration, SpatialAttention
from lvseg.train.network.options import NetworkOptions

GROUPS = 8


def _normalization(options: NetworkOptions, channels: int) -> nn.Module:
    if options.normalization == "batch":
        return nn.BatchNorm2d(channels, momentum=options.batch_momentum)
    if options.normalization == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if options.normalization == "group":
        return nn.GroupNorm(gcd(GROUPS, channels), channels)
    return nn.Identity()


def _attention(options: NetworkOptions, channels: int) -> nn.Module:
    if options.parts.attention == "squeeze-excitation":
        return Recalibration(channels, options.reduction)
    return SpatialAttention() if options.parts.attention == "cbam-spatial" else nn.Identity()


def _initialise(module: nn.Module) -> None:
    """Normal weights by fan-in for convolutions (He 2015), uniform for dense layers (Glorot 2010).

    Biases are 0.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class ConvolutionBlock(nn.Sequential):
    """``count`` times: 3x3 convolution, ReLU, normalisation, in the paper's order."""

    def __init__(self, options: NetworkOptions, channels: int, width: int, count: int = 2) -> None:
        layers: list[nn.Module] = []
        for index in range(count):
            layers += [
                nn.Conv2d(width if index else channels, width, 3, padding=1),
                nn.ReLU(),
                _normalization(options, width),
            ]
        super().__init__(*layers)


class DecoderBlock(nn.Module):
    """One level up: attention, 2x up-sampling, 2x2 convolution, (skip,) 3x3 convolutions.

    The paper names no activation here; without one the decoder would be linear, so each
    convolution has the ReLU and the normalisation of the convolution block. Up-sampling repeats
    pixels, to the size of the level exactly, which is one more than twice at an odd side. The 2x2
    convolution pads one row and column of 0 at the bottom and on the right.
    """

    def __init__(self, options: NetworkOptions, channels: int, width: int) -> None:
        super().__init__()
        parts = options.parts
        self.attention = _attention(options, channels)
        self.up = nn.Conv2d(channels, width, 2)
        self.normalisation = _normalization(options, width)  # as stored in the shipped weights
        self.gate = AttentionGate(width, width) if parts.gates else None
        self.skips = parts.skips
        joined = 2 * width if parts.skips else width
        self.block = ConvolutionBlock(options, joined, width, parts.decoder_convolutions)

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        """``[N, channels, y, x]`` -> ``[N, width, Y, X]``.

        :param level: the encoder's map of this level, ``[N, width, Y, X]``; only its size is used
            without skips.
        """
        sides = (level.shape[2], level.shape[3])
        large = functional.interpolate(self.attention(features), size=sides, mode="nearest")
        large = self.normalisation(torch.relu(self.up(functional.pad(large, (0, 1, 0, 1)))))
        if self.skips:
            skip = level if self.gate is None else self.gate(level, large)
            large = torch.cat([skip, large], 1)
        result: Tensor = self.block(large)
        return result


class EncoderDecoder(nn.Module):
    """``[N, in_channels, Y, X]`` -> logits ``[N, out_channels, Y, X]``.

    Rows and columns are any from 2 ** (levels - 1) on.

    Encoder: per level a convolution block (whose map is the skip), 2x2 max pooling, the attention
    module; bottleneck: a convolution block; decoder: see :class:`DecoderBlock`. Head: a 3x3
    convolution to 2 channels a label and a 1x1 convolution to its logit. The paper puts its module
    behind the encoder block and the pooling into it, so the module weighs the pooled map; it names
    no activation in the head and none stands there, because a ReLU on two channels can fall silent
    for good. Its sigmoid is left to loss and inference.

    Pooling leaves out the last row or column of an odd side; up-sampling returns to its size.
    """

    def __init__(
        self, options: NetworkOptions, in_channels: int = 1, out_channels: int = 1
    ) -> None:
        super().__init__()
        *widths, deepest = options.widths
        above = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            ConvolutionBlock(options, channels, width)
            for channels, width in zip(above, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.attention = nn.ModuleList(_attention(options, width) for width in widths)
        self.bottleneck = ConvolutionBlock(options, widths[-1], deepest)
        self.dropout = nn.Dropout(options.dropout)
        below = [*widths[1:], deepest]
        self.decoder = nn.ModuleList(
            DecoderBlock(options, channels, width)
            for channels, width in reversed(list(zip(below, widths, strict=True)))
        )
        pair = 2 * out_channels
        self.head = nn.Sequential(
            nn.Conv2d(widths[0], pair, 3, padding=1), nn.Conv2d(pair, out_channels, 1)
        )
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, the size of the image."""
        features, levels = image, list[Tensor]()
        for block, attention in zip(self.encoder, self.attention, strict=True):
            levels.append(block(features))
            features = attention(self.pool(levels[-1]))
        features = self.dropout(self.bottleneck(features))
        for block, level in zip(self.decoder, reversed(levels), strict=True):
            features = block(features, level)
        logits: Tensor = self.head(features)
        return logits
