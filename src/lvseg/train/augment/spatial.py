"""Spatial augmentation: image and mask cropped and deformed together, in one resampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lvseg.train.augment.parameters import AugmentParameters
from lvseg.train.augment.random_fields import spline_field


def _displacement(parameters: AugmentParameters, size: int) -> Tensor:
    """Elastic displacement of each crop pixel in pixels (row, column), [N, S, S, 2]."""
    field = functional.interpolate(
        parameters.elastic, size=(size, size), mode="bicubic", align_corners=True
    )
    if parameters.elastic_fine is not None:
        field = field + spline_field(parameters.elastic_fine, (size, size))
    return field.permute(0, 2, 3, 1)


def _grid(parameters: AugmentParameters, sides: tuple[int, int], size: int) -> Tensor:
    """Where each crop pixel looks in the source, normalised for ``grid_sample``, [N, S, S, 2]."""
    device = parameters.centre.device
    axis = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
    offsets = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    field = _displacement(parameters, size)
    source = torch.einsum("nij,nhwj->nhwi", parameters.matrix, offsets + field)
    source = source + parameters.centre[:, None, None, :]
    rows, columns = sides
    return torch.stack(
        [(2 * source[..., 1] + 1) / columns - 1, (2 * source[..., 0] + 1) / rows - 1], -1
    )


def apply_spatial(
    parameters: AugmentParameters, images: Tensor, masks: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Cut and deform a batch; image and mask move together.

    :param images: ``[N, input channels, Y, X]``; :param masks: ``[N, labels, Y, X]``; float in
        0..1, outside them is 0.
    :returns: crops ``[N, channels, size, size]``; mask edges become soft by the interpolation.
    """
    sides = (images.shape[2], images.shape[3])
    grid = _grid(parameters.to(images.device), sides, size)
    both = torch.cat([images, masks], 1)
    crops = functional.grid_sample(both, grid, mode="bilinear", align_corners=False)
    channels = images.shape[1]
    return crops[:, :channels], crops[:, channels:]
