"""Segmentation networks: described by frozen options, then built.

The four networks of the paper are members of one family, :class:`EncoderDecoder`:

1. ``encoder-decoder``: convolution blocks, down and up again, nothing else;
2. ``se-encoder-decoder``: with the paper's attention module; the variant behind its numbers;
3. ``unet``: with skip connections (Ronneberger 2015);
4. ``se-attention-unet``: the module, skip connections and attention gates (Oktay 2018).

What the paper calls spatial attention is, by its formula, residual channel recalibration
(squeeze-and-excitation, Hu 2018): :class:`Recalibration`. The attention gate and the spatial map
of CBAM (Woo 2018) are other modules and stand beside it under their own names. All three keep the
shape ``[N, C, Y, X]`` of what they weigh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from lvseg.modelcard import StrictModel

Attention = Literal["none", "squeeze-excitation", "cbam-spatial"]
Kind = Literal[
    "residual-unet",
    "encoder-decoder",
    "se-encoder-decoder",
    "unet",
    "se-attention-unet",
    "monai-basic-unet",
    "monai-attention-unet",
    "monai-segresnet",
]
Normalization = Literal["batch", "instance", "group", "none"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What tells the members of the encoder-decoder family apart.

    :param skips: the map of each encoder level is concatenated to the decoder's.
    :param gates: each skip goes through an attention gate first.
    :param attention: the module behind every encoder and in front of every decoder block.
    :param decoder_convolutions: 3x3 convolutions of a decoder block.
    """

    skips: bool
    gates: bool
    attention: Attention
    decoder_convolutions: int


#: The paper's networks 1 to 4. Its decoder block has one 3x3 convolution; the plain U-Net, of which
#: the paper gives no detail, has the two of Ronneberger 2015.
KINDS: Mapping[str, Parts] = MappingProxyType(
    {
        "encoder-decoder": Parts(False, False, "none", 1),
        "se-encoder-decoder": Parts(False, False, "squeeze-excitation", 1),
        "unet": Parts(True, False, "none", 2),
        "se-attention-unet": Parts(True, True, "squeeze-excitation", 1),
    }
)


class NetworkOptions(StrictModel):
    """A network, described.

    The kind ``residual-unet`` is MONAI's (Kerfoot 2018), as are ``monai-basic-unet`` (Falk 2019),
    ``monai-attention-unet`` (Oktay 2018) and ``monai-segresnet`` (Myronenko 2018), with the
    normalisation and the blocks that MONAI gives them.

    :param widths: channels of each level; the last is the bottleneck. In ``residual-unet`` every
        level halves the resolution, the first included, so the costly full-resolution
        convolutions are left to one transposed convolution. ``monai-basic-unet`` has five levels,
        ``monai-segresnet`` four whose channels double.
    :param residual_units: 3x3 convolutions per residual unit; ``residual-unet`` only.
    :param dropout: share of values dropped; in the encoder-decoder family at the bottleneck only.

    The rest is for the encoder-decoder family; None = as the kind has it (:data:`KINDS`).

    :param skips, gates, attention, decoder_convolutions: see :class:`Parts`.
    :param reduction: the recalibration squeezes the channels to 1 / ``reduction``.
    :param normalization: behind every ReLU; ``group`` has 8 groups, or as many as divide the
        channels.
    :param batch_momentum: weight of the newest batch in the running statistics of batch
        normalisation; 0.1 is torch's default, 0.01 Keras'.
    """

    renamed: ClassVar[Mapping[str, str]] = {"normalisation": "normalization"}

    kind: Kind = "residual-unet"
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(16, 32, 64, 128, 256), min_length=2, max_length=8
    )
    residual_units: int = Field(default=2, ge=0, le=16)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    skips: bool | None = None
    gates: bool | None = None
    attention: Attention | None = None
    decoder_convolutions: int | None = Field(default=None, ge=1, le=16)
    reduction: int = Field(default=8, ge=1, le=1024)
    normalization: Normalization = "batch"
    batch_momentum: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        widths = self.widths
        if self.kind == "monai-basic-unet" and len(widths) != 5:
            raise ValueError("monai-basic-unet has five levels: give five widths")
        if self.kind == "monai-segresnet" and widths != doubling(widths[0], 3):
            raise ValueError("monai-segresnet has four levels: give four widths that double")
        if self.kind not in KINDS:
            own = {name: field.default for name, field in type(self).model_fields.items()}
            for name in _FAMILY_ONLY:
                if getattr(self, name) != own[name]:
                    raise ValueError(f"'{name}' is not for {self.kind}")
        elif self.parts.gates and not self.parts.skips:
            raise ValueError("attention gates stand on skips: set skips too, or gates = false")
        return self

    @property
    def parts(self) -> Parts:
        """The parts of a member of the encoder-decoder family, with what was set for itself.

        :raises KeyError: a kind of MONAI's, which has no such parts.
        """
        stated = {name: getattr(self, name) for name in Parts.__dataclass_fields__}
        given = {name: value for name, value in stated.items() if value is not None}
        return replace(KINDS[self.kind], **given)


_FAMILY_ONLY = (*Parts.__dataclass_fields__, "reduction", "normalization", "batch_momentum")


def doubling(width: int, depth: int) -> tuple[int, ...]:
    """Channels that start at ``width`` and double at each of ``depth`` poolings.

    The paper's scale is width 64 and depth 5: five encoder blocks of 64 to 1024 channels and a
    bottleneck of 2048. Only with that bottleneck does its own variant reach the 101 million
    parameters (385 MB) it reports; without one, or with 1024, it has a quarter of them.

    >>> doubling(64, 5)
    (64, 128, 256, 512, 1024, 2048)
    """
    return tuple(width * 2**level for level in range(depth + 1))


def build(options: NetworkOptions, in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    """Network ``[N, in_channels, Y, X]`` -> logits ``[N, out_channels, Y, X]``.

    Its weights are drawn from torch's global generator.

    MONAI's kinds need sides that are multiples of 2 ** (levels - 1); the encoder-decoder family
    takes any sides from that on.
    """
    make = EncoderDecoder if options.kind in KINDS else _of_monai
    network: nn.Module = make(options, in_channels, out_channels)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _of_monai(options: NetworkOptions, in_channels: int, out_channels: int) -> Any:
    from monai.networks import nets

    widths, dropout = options.widths, options.dropout
    shape: dict[str, Any] = {
        "spatial_dims": 2,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
    strides = (2,) * (len(widths) - 1)
    if options.kind == "monai-basic-unet":
        return nets.BasicUNet(**shape, features=(*widths, widths[0]), dropout=dropout)
    if options.kind == "monai-segresnet":
        norm = ("group", {"num_groups": gcd(GROUPS, widths[0])})
        return nets.SegResNet(
            **shape, init_filters=widths[0], dropout_prob=dropout or None, norm=norm
        )
    shape |= {"channels": widths, "strides": strides, "dropout": dropout}
    if options.kind == "monai-attention-unet":
        return nets.AttentionUnet(**shape)
    return nets.UNet(**shape, num_res_units=options.residual_units, norm="BATCH")


def count_parameters(network: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(weight.numel() for weight in network.parameters())


class Recalibration(nn.Module):
    """Residual squeeze-and-excitation: ``x + x * s``, one weight ``s`` in 0..1 a channel.

    ``s = sigmoid(W2 relu(W1 mean(x) + b1) + b2)``, the mean over rows and columns, W1 to
    ``channels / reduction`` (Hu 2018, eq. 2 to 4). The sum with the input is the paper's, which
    calls this module spatial attention; it knows channels and no places.

    At batch size 1 directly behind batch normalisation, and always behind instance normalisation,
    the mean of a channel is the layer's own shift, whatever the image: ``s`` is then a constant.
    In the paper's setting this holds in training for the modules in front of the decoder blocks.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, inner)
        self.excite = nn.Linear(inner, channels)

    def weights(self, features: Tensor) -> Tensor:
        """One weight for each channel, [N, C]."""
        inner = torch.relu(self.squeeze(features.mean((2, 3))))
        return torch.sigmoid(self.excite(inner))

    def forward(self, features: Tensor) -> Tensor:
        """Add the weighted map to the map."""
        return features + features * self.weights(features)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Spatial attention of CBAM: ``x * m``, one weight ``m`` in 0..1 a pixel (Woo 2018, eq. 3).

    ``m = sigmoid(conv7x7([mean over channels; maximum over channels]))``, borders padded with 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)

    def weights(self, features: Tensor) -> Tensor:
        """One weight for each pixel, [N, 1, Y, X]."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return torch.sigmoid(self.convolution(pooled))

    def forward(self, features: Tensor) -> Tensor:
        """Multiply the map with the weights."""
        return features * self.weights(features)


class AttentionGate(nn.Module):
    """Additive attention gate on a skip: ``x * a``, one weight ``a`` in 0..1 a pixel.

    ``a = sigmoid(psi relu(Wx x + Wg g + b) + b_psi)``, all of them 1x1 convolutions, Wx and Wg to
    half of the channels (Oktay 2018, eq. 1 and 2). There g comes from the coarser level and ``a``
    is brought to the grid of x; here the decoder's map g is on that grid already, so the gate
    interpolates nothing. No normalisation inside, as in the formula.

    :param channels: of the skip ``x``; :param gating_channels: of the decoder's map ``g``.
    """

    def __init__(self, channels: int, gating_channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.skip = nn.Conv2d(channels, inner, 1, bias=False)
        self.gating = nn.Conv2d(gating_channels, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)

    def weights(self, skip: Tensor, gating: Tensor) -> Tensor:
        """One weight for each pixel, [N, 1, Y, X]; both maps have the same rows and columns."""
        return torch.sigmoid(self.psi(torch.relu(self.skip(skip) + self.gating(gating))))

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Multiply the skip with the weights."""
        return skip * self.weights(skip, gating)


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
