"""Network options: a kind, the channels of its levels, parts that may differ from the kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

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
    widths: tuple[int, ...] = Field(default=(16, 32, 64, 128, 256), min_length=2)
    residual_units: int = 2
    dropout: float = 0.0
    skips: bool | None = None
    gates: bool | None = None
    attention: Attention | None = None
    decoder_convolutions: int | None = Field(default=None, ge=1)
    reduction: int = Field(default=8, ge=1)
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
        own = KINDS[self.kind]
        return Parts(
            own.skips if self.skips is None else self.skips,
            own.gates if self.gates is None else self.gates,
            own.attention if self.attention is None else self.attention,
            self.decoder_convolutions or own.decoder_convolutions,
        )


_FAMILY_ONLY = (
    "skips",
    "gates",
    "attention",
    "decoder_convolutions",
    "reduction",
    "normalization",
    "batch_momentum",
)


def doubling(width: int, depth: int) -> tuple[int, ...]:
    """Channels that start at ``width`` and double at each of ``depth`` poolings.

    The paper's scale is width 64 and depth 5: five encoder blocks of 64 to 1024 channels and a
    bottleneck of 2048. Only with that bottleneck does its own variant reach the 101 million
    parameters (385 MB) it reports; without one, or with 1024, it has a quarter of them.

    >>> doubling(64, 5)
    (64, 128, 256, 512, 1024, 2048)
    """
    return tuple(width * 2**level for level in range(depth + 1))
