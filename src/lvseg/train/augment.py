"""Augmentation in two steps: draw the parameters of a batch, then apply them.

Applying is deterministic, so it can be tested exactly and replayed. Everything works on a whole
batch of tensors: one resampling does rotation, flips, scale, stretch, shift, elastic
deformation and the crop together, so an image is interpolated once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["AugmentOptions", "Draw", "crop", "draw", "identity", "recolour"]

Range = tuple[float, float]


class AugmentOptions(BaseModel):
    """Ranges to draw from. Each pair is (low, high); each ``_chance`` a probability per image.

    :param rotation_degrees: heart axes and scanner set-ups differ freely: the full circle.
    :param scale: size of the picture content; covers pixel sizes the data does not state.
    :param stretch: ratio of column to row scale.
    :param shift_px: the cavity's centre within the crop, +- this on each axis.
    :param anywhere_chance: crop centred on any place of the image instead of the cavity.
    :param elastic_px: largest displacement of a smooth random field with 4 x 4 control points.
    :param gamma: exponent of the intensity.
    :param gain: contrast; :param offset: brightness.
    :param bias: strength of a smooth multiplicative coil shading.
    :param noise: standard deviation of Rician-like noise; :param blur_chance: half resolution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation_degrees: float = 180.0
    flip_chance: float = 0.5
    scale: Range = (0.75, 1.35)
    stretch: Range = (0.9, 1.1)
    shift_px: float = 20.0
    anywhere_chance: float = 0.15
    elastic_px: float = 4.0
    gamma: Range = (0.6, 1.7)
    gain: Range = (0.7, 1.3)
    offset: Range = (-0.1, 0.1)
    bias: float = 0.5
    noise: Range = (0.0, 0.06)
    blur_chance: float = 0.15


@dataclass(frozen=True, slots=True)
class Draw:
    """Parameters of one batch of N images; every tensor has N as its first axis.

    :param centre: crop centre in source pixels (row, column), [N, 2].
    :param matrix: crop offsets -> source offsets (row, column), [N, 2, 2].
    :param elastic: control displacements in pixels, [N, 2, 4, 4].
    :param gamma, gain, offset, noise: [N]; :param bias: log shading, [N, 1, 4, 4].
    :param noise_seed: seeds the noise picture; :param blur: [N] bool.
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


def _uniform(count: int, limits: Range, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (limits[1] - limits[0]) + limits[0]


def _log_uniform(count: int, limits: Range, generator: Generator) -> Tensor:
    return _uniform(count, (math.log(limits[0]), math.log(limits[1])), generator).exp()


def identity(centres: Tensor) -> Draw:
    """The draw that only crops, around ``centres`` [N, 2]."""
    count = len(centres)
    one, zero = torch.ones(count), torch.zeros(count)
    return Draw(
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


def draw(
    options: AugmentOptions, centres: Tensor, sides: tuple[int, int], generator: Generator
) -> Draw:
    """Draw the parameters for a batch.

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
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([cosine, -sine, sine, cosine], 1).reshape(count, 2, 2)
    scale = torch.stack([zoom * stretch, zoom / stretch * flip], 1)
    return Draw(
        centre=torch.where(chosen, anywhere, centres + shift),
        matrix=rotation * scale[:, None, :],
        elastic=(torch.rand(count, 2, 4, 4, generator=generator) * 2 - 1) * options.elastic_px,
        gamma=_log_uniform(count, options.gamma, generator),
        gain=_uniform(count, options.gain, generator),
        offset=_uniform(count, options.offset, generator),
        bias=(torch.rand(count, 1, 4, 4, generator=generator) * 2 - 1) * options.bias,
        noise=_uniform(count, options.noise, generator),
        noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
        blur=torch.rand(count, generator=generator) < options.blur_chance,
    )


def _grid(parameters: Draw, sides: tuple[int, int], size: int) -> Tensor:
    """Where each crop pixel looks in the source, normalised for ``grid_sample``, [N, S, S, 2]."""
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    offsets = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    field = functional.interpolate(
        parameters.elastic, size=(size, size), mode="bicubic", align_corners=True
    ).permute(0, 2, 3, 1)
    source = torch.einsum("nij,nhwj->nhwi", parameters.matrix, offsets + field)
    source = source + parameters.centre[:, None, None, :]
    rows, columns = sides
    return torch.stack(
        [(2 * source[..., 1] + 1) / columns - 1, (2 * source[..., 0] + 1) / rows - 1], -1
    )


def crop(parameters: Draw, images: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut and deform a batch; image and mask move together.

    :param images, masks: ``[N, 1, Y, X]`` float in 0..1; outside them is 0.
    :returns: crops ``[N, 1, size, size]``; mask edges become soft by the interpolation.
    """
    sides = (images.shape[2], images.shape[3])
    grid = _grid(parameters, sides, size)
    both = torch.cat([images, masks], 1)
    crops = functional.grid_sample(both, grid, mode="bilinear", align_corners=False)
    return crops[:, :1], crops[:, 1:]


def recolour(parameters: Draw, images: Tensor) -> Tensor:
    """Change the brightness of crops ``[N, 1, Y, X]`` in 0..1; masks are not concerned."""

    def wide(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    sides = (images.shape[2], images.shape[3])
    bias = functional.interpolate(parameters.bias, size=sides, mode="bicubic", align_corners=True)
    result = images.clamp(0, 1) ** wide(parameters.gamma) * bias.exp()
    result = result * wide(parameters.gain) + wide(parameters.offset) * (images > 0)
    if bool(parameters.blur.any()):
        coarse = functional.avg_pool2d(result, 2)
        blurred = functional.interpolate(coarse, size=sides, mode="bilinear")
        result = torch.where(wide(parameters.blur), blurred, result)
    if bool((parameters.noise > 0).any()):
        generator = Generator().manual_seed(parameters.noise_seed)
        noise = torch.randn(images.shape, generator=generator)
        result = (result + wide(parameters.noise) * noise).abs()
    return result.clamp(0, 1.5)
