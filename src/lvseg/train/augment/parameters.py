"""Augmentation parameters of a batch, drawn from options by a random generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Generator, Tensor

from lvseg.train.augment.options import AugmentOptions

#: Control points on each axis of the B-spline fields: fine deformation, and changes of intensity.
FINE_POINTS, FIELD_POINTS = 8, 6


@dataclass(frozen=True, slots=True)
class AugmentParameters:
    """Parameters of one batch of N images; every tensor has N as its first axis.

    :param centre: crop centre in source pixels (row, column), [N, 2].
    :param matrix: crop offsets -> source offsets (row, column), [N, 2, 2].
    :param elastic: control displacements in pixels, [N, 2, 4, 4].
    :param gamma, gain, offset, noise: [N]; :param bias: log shading, [N, 1, 4, 4].
    :param noise_seed: seeds the noise picture; :param blur: [N] bool.

    What follows is None where the kind is off:

    :param elastic_fine: B-spline control displacements in pixels, [N, 2, 8, 8].
    :param bias_centred: the shading's mean log is subtracted.
    :param local_contrast: B-spline control points of the log contrast, [N, 1, 6, 6].
    :param inverted: B-spline control points in -1..1; inverted where positive, [N, 1, 6, 6].
    :param smooth_px, coarse, rician: [N]; 0, 1 and 0 leave an image alone.
    """

    centre: Tensor
    matrix: Tensor
    elastic: Tensor
    gamma: Tensor
    gain: Tensor
    offset: Tensor
    bias: Tensor
    noise: Tensor
    noise_seed: int
    blur: Tensor
    elastic_fine: Tensor | None = None
    bias_centred: bool = False
    local_contrast: Tensor | None = None
    inverted: Tensor | None = None
    smooth_px: Tensor | None = None
    coarse: Tensor | None = None
    rician: Tensor | None = None

    def to(self, device: torch.device) -> AugmentParameters:
        """The same parameters where the images are."""
        return self._each(lambda value: value.to(device))

    def part(self, images: slice) -> AugmentParameters:
        """The parameters of some images of the batch; the seed of the noise stays."""
        return self._each(lambda value: value[images])

    def _each(self, change: Callable[[Tensor], Tensor]) -> AugmentParameters:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            values[name] = change(value) if isinstance(value, Tensor) else value
        return AugmentParameters(**values)


def _uniform(count: int, limits: tuple[float, float], generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (limits[1] - limits[0]) + limits[0]


def _log_uniform(count: int, limits: tuple[float, float], generator: Generator) -> Tensor:
    return _uniform(count, (math.log(limits[0]), math.log(limits[1])), generator).exp()


def _points(count: int, channels: int, side: int, limit: float, generator: Generator) -> Tensor:
    drawn = torch.rand(count, channels, side, side, generator=generator)
    return (drawn * 2 - 1) * limit


def _sometimes(values: Tensor, chance: float, otherwise: float, generator: Generator) -> Tensor:
    """``values`` [N, ...] for the images that the chance picks, ``otherwise`` for the rest."""
    chosen = torch.rand(len(values), generator=generator) < chance
    wide = chosen.reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(wide, values, torch.full_like(values, otherwise))


def identity_parameters(centres: Tensor) -> AugmentParameters:
    """The draw that only crops, around ``centres`` [N, 2]."""
    count = len(centres)
    one, zero = torch.ones(count), torch.zeros(count)
    return AugmentParameters(
        centre=centres.float(),
        matrix=torch.eye(2).repeat(count, 1, 1),
        elastic=torch.zeros(count, 2, 4, 4),
        gamma=one,
        gain=one,
        offset=zero,
        bias=torch.zeros(count, 1, 4, 4),
        noise=zero,
        noise_seed=0,
        blur=torch.zeros(count, dtype=torch.bool),
    )


def draw_parameters(
    options: AugmentOptions, centres: Tensor, sides: tuple[int, int], generator: Generator
) -> AugmentParameters:
    """Draw the parameters of a batch.

    :param centres: cavity centre of each image in source pixels (row, column), [N, 2].
    :param sides: (rows, columns) of the source images.
    """
    count = len(centres)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * options.shift_px
    anywhere = torch.rand(count, 2, generator=generator) * torch.tensor(sides)
    chosen = torch.rand(count, 1, generator=generator) < options.anywhere_chance
    limit = math.radians(options.rotation_degrees)
    angle = _uniform(count, (-limit, limit), generator)
    flip = torch.where(torch.rand(count, generator=generator) < options.flip_chance, -1.0, 1.0)
    zoom = 1 / _log_uniform(count, options.scale, generator)
    stretch = _log_uniform(count, options.stretch, generator).sqrt()
    if options.upright_chance > 0:
        upright = torch.rand(count, generator=generator) < options.upright_chance
        tilt = _uniform(count, (-1.0, 1.0), generator) * math.radians(options.upright_degrees)
        angle = torch.where(upright, tilt, angle)
        flip = torch.where(upright, 1.0, flip)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([cosine, -sine, sine, cosine], 1).reshape(count, 2, 2)
    scale = torch.stack([zoom * stretch, zoom / stretch * flip], 1)
    first = AugmentParameters(
        centre=torch.where(chosen, anywhere, centres + shift),
        matrix=rotation * scale[:, None, :],
        elastic=_points(count, 2, 4, options.elastic_px, generator),
        gamma=_log_uniform(count, options.gamma, generator),
        gain=_uniform(count, options.gain, generator),
        offset=_uniform(count, options.offset, generator),
        bias=_points(count, 1, 4, options.bias, generator),
        noise=_uniform(count, options.noise, generator),
        noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
        blur=torch.rand(count, generator=generator) < options.blur_chance,
        bias_centred=options.bias_centred,
    )
    return _with_intensity(_with_geometry(first, options, sides, generator), options, generator)


def _with_geometry(
    drawn: AugmentParameters, options: AugmentOptions, sides: tuple[int, int], generator: Generator
) -> AugmentParameters:
    """The further kinds of geometry, in this order, each drawn only when it is on."""
    count, centre, matrix, fine = len(drawn.centre), drawn.centre, drawn.matrix, None
    if options.upside_down_chance > 0:
        rows = _sometimes(-torch.ones(count), options.upside_down_chance, 1.0, generator)
        matrix = matrix * torch.stack([rows, torch.ones(count)], 1)[:, None, :]
    if options.zoom > 0:
        size = _uniform(count, (1 - options.zoom, 1 + options.zoom), generator)
        matrix = matrix / size[:, None, None]
    if options.height_shift > 0 or options.width_shift > 0:
        most = torch.tensor([options.height_shift * sides[0], options.width_shift * sides[1]])
        centre = centre + (torch.rand(count, 2, generator=generator) * 2 - 1) * most
    if options.elastic_fine_px > 0:
        fine = _points(count, 2, FINE_POINTS, options.elastic_fine_px, generator)
    return replace(drawn, centre=centre, matrix=matrix, elastic_fine=fine)


def _with_intensity(
    drawn: AugmentParameters, options: AugmentOptions, generator: Generator
) -> AugmentParameters:
    """The further kinds of intensity, in this order, each drawn only when it is on."""
    count = len(drawn.centre)
    contrast = inverted = smooth = coarse = rician = None
    if options.local_contrast > 0:
        contrast = _points(count, 1, FIELD_POINTS, options.local_contrast, generator)
    if options.invert_chance > 0:
        field = _points(count, 1, FIELD_POINTS, 1.0, generator)
        inverted = _sometimes(field, options.invert_chance, -1.0, generator)
    if options.smooth_chance > 0:
        sigma = _uniform(count, options.smooth_px, generator)
        smooth = _sometimes(sigma, options.smooth_chance, 0.0, generator)
    if options.coarse_chance > 0:
        side = _uniform(count, options.coarse, generator)
        coarse = _sometimes(side, options.coarse_chance, 1.0, generator)
    if options.rician_chance > 0:
        sigma = _uniform(count, options.rician, generator)
        rician = _sometimes(sigma, options.rician_chance, 0.0, generator)
    return replace(
        drawn,
        local_contrast=contrast,
        inverted=inverted,
        smooth_px=smooth,
        coarse=coarse,
        rician=rician,
    )
