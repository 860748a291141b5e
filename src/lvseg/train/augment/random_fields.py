"""Smooth random fields, and filters that lower the resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def _spline_basis(size: int, points: int, device: torch.device) -> Tensor:
    """Uniform cubic B-spline, [size, points]: no weight is negative and each row sums to 1."""
    place = torch.linspace(0, points - 3, size, device=device)
    distance = (place[:, None] + 1 - torch.arange(points, device=device)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def spline_field(points: Tensor, sides: tuple[int, int]) -> Tensor:
    """Control points [N, C, K, K], 4 or more a side -> a smooth field [N, C, Y, X].

    The field stays within the smallest and largest control point (de Boor 1978: a B-spline lies in
    the convex hull of its control points).
    """
    rows = _spline_basis(sides[0], points.shape[2], points.device)
    columns = _spline_basis(sides[1], points.shape[3], points.device)
    return rows @ points @ columns.T


def smooth_matrix(sigma_px: Tensor, size: int) -> Tensor:
    """Gaussian blur of a line, cut at 4 sigma, [N] above 0 -> [N, size, size]; rows sum to 1."""
    axis = torch.arange(size, device=sigma_px.device)
    far = axis / sigma_px[:, None]
    kernel = torch.where(far <= 4, torch.exp(-(far.clamp(max=4) ** 2) / 2), 0)
    weights = kernel[:, (axis[:, None] - axis).abs()]
    return weights / weights.sum(2, keepdim=True)


def coarse(images: Tensor, side_px: Sequence[float]) -> Tensor:
    """Means over coarse pixels, then linear between them, of images [N, C, Y, X].

    :param side_px: side of the coarse pixels of each image, from 1; rounded so that a whole number
        of them, at least one, covers the picture.
    """
    sides = images.shape[2:]
    result = []
    for image, side in zip(images[:, None], side_px, strict=True):
        fewer = [max(1, round(size / side)) for size in sides]
        means = functional.interpolate(image, size=fewer, mode="area")
        result.append(functional.interpolate(means, size=sides, mode="bilinear"))
    return torch.cat(result)


def smooth(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur of images [N, C, Y, X], each by its own sigma [N] above 0."""
    rows = smooth_matrix(sigma_px, images.shape[2])[:, None]
    square = images.shape[2] == images.shape[3]
    columns = rows if square else smooth_matrix(sigma_px, images.shape[3])[:, None]
    return rows @ images @ columns.mT
