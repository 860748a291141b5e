"""Augmentation options: the ranges that parameters are drawn from."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from lvseg.modelcard import StrictModel


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected (low, high), found {limits}")
    return limits


def _positive(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] <= 0:
        raise ValueError(f"expected (low, high) above 0, found {limits}")
    return _ordered(limits)


def _spread(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < 0:
        raise ValueError(f"expected (low, high) from 0, found {limits}")
    return _ordered(limits)


def _coarser(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < 1:
        raise ValueError(f"expected (low, high) from 1, found {limits}")
    return _ordered(limits)


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Factor = Annotated[tuple[float, float], AfterValidator(_positive)]
Spread = Annotated[tuple[float, float], AfterValidator(_spread)]
Coarseness = Annotated[tuple[float, float], AfterValidator(_coarser)]
Chance = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[float, Field(ge=0)]


class AugmentOptions(StrictModel):
    """Ranges to draw from. Each pair is (low, high); each ``_chance`` a probability per image.

    The second group is off by default. A kind that is off takes no number from the generator, so
    turning one on never changes what the first group draws for the first batch.

    :param rotation_degrees: heart axes and scanner set-ups differ freely: the full circle.
    :param flip_chance: left and right swapped.
    :param scale: size of the picture content; covers pixel sizes the data does not state.
    :param stretch: ratio of column to row scale.
    :param shift_px: the cavity's centre within the crop, +- this on each axis.
    :param anywhere_chance: crop centred on any place of the image instead of the cavity.
    :param elastic_px: displacement of the 4 x 4 control points of a smooth random field, +- this
        on each axis; the bicubic field between them goes up to 1.9 times as far.
    :param gamma: exponent of the intensity.
    :param gain: contrast; :param offset: brightness.
    :param bias: strength of a smooth multiplicative coil shading, the log of its control points.
    :param noise: standard deviation of Gaussian noise, whose negative values are mirrored.
    :param blur_chance: half resolution.

    :param upright_chance: as the scanner shows it: not swapped, turned by at most
        ``upright_degrees`` either way.
    :param upside_down_chance: top and bottom swapped.
    :param zoom: size of the content 1 +- this.
    :param width_shift, height_shift: +- this share of the image's width and height.
    :param elastic_fine_px: largest displacement on each axis of a finer random field (a B-spline,
        which stays within its control points).
    :param bias_centred: the mean log of each shading is 0, so it does not change the brightness.
    :param local_contrast: log of a contrast that changes smoothly over the picture, +- this.
    :param invert_chance: bright and dark swapped in smooth random parts of the picture.
    :param smooth_px: standard deviation of a Gaussian blur; :param smooth_chance: of being blurred.
    :param coarse: side of the coarse pixels, in pixels; :param coarse_chance: of being coarse.
    :param rician: standard deviation of each channel of Rician noise (Gudbjartsson 1995);
        :param rician_chance: of having it.
    """

    rotation_degrees: float = 180.0
    flip_chance: Chance = 0.5
    scale: Factor = (0.75, 1.35)
    stretch: Factor = (0.9, 1.1)
    shift_px: float = 20.0
    anywhere_chance: Chance = 0.15
    elastic_px: float = 4.0
    gamma: Factor = (0.6, 1.7)
    gain: Range = (0.7, 1.3)
    offset: Range = (-0.1, 0.1)
    bias: float = 0.5
    noise: Spread = (0.0, 0.06)
    blur_chance: Chance = 0.15

    upright_chance: Chance = 0.0
    upright_degrees: float = Field(default=25.0, ge=0, le=180)
    upside_down_chance: Chance = 0.0
    zoom: Share = 0.0
    width_shift: Share = 0.0
    height_shift: Share = 0.0
    elastic_fine_px: Size = 0.0
    bias_centred: bool = False
    local_contrast: Size = 0.0
    invert_chance: Chance = 0.0
    smooth_px: Spread = (0.5, 1.5)
    smooth_chance: Chance = 0.0
    coarse: Coarseness = (1.0, 2.5)
    coarse_chance: Chance = 0.0
    rician: Spread = (0.0, 0.06)
    rician_chance: Chance = 0.0
