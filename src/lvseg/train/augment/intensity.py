"""Intensity augmentation: crops made brighter, darker, shaded, blurred, coarse and noisy."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from lvseg.train.augment.parameters import AugmentParameters
from lvseg.train.augment.random_fields import coarse, smooth, spline_field

#: How steeply a picture turns from plain to inverted, per unit of the random field.
_TURN = 4.0


def apply_intensity(parameters: AugmentParameters, images: Tensor) -> Tensor:
    """Change the brightness of crops ``[N, C, Y, X]`` in 0..1; masks are not concerned.

    In this order: parts inverted, gamma, shading, local contrast, gain and offset, half resolution,
    Gaussian blur, coarse pixels, noise, Rician noise.
    """
    parameters, sides = parameters.to(images.device), (images.shape[2], images.shape[3])
    there, result = images > 0, images.clamp(0, 1)
    if parameters.inverted is not None:
        result = _inverted(parameters.inverted, result, there)
    result = result ** _wide(parameters.gamma)
    if bool(parameters.bias.any()):
        result = result * _shading(parameters, sides).exp()
    if parameters.local_contrast is not None:
        result = _local_contrast(parameters.local_contrast, result, there)
    result = result * _wide(parameters.gain) + _wide(parameters.offset) * there
    if bool(parameters.blur.any()):
        halved = functional.avg_pool2d(result, 2)
        blurred = functional.interpolate(halved, size=sides, mode="bilinear")
        result = torch.where(_wide(parameters.blur), blurred, result)
    return _noisy(parameters, _blurred(parameters, result)).clamp(0, 1.5)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _shading(parameters: AugmentParameters, sides: tuple[int, int]) -> Tensor:
    """Log of the coil shading, [N, 1, Y, X]."""
    field = functional.interpolate(parameters.bias, size=sides, mode="bicubic", align_corners=True)
    return field - field.mean((2, 3), keepdim=True) if parameters.bias_centred else field


def _inverted(points: Tensor, images: Tensor, there: Tensor) -> Tensor:
    """Bright and dark swapped where the field is positive; what is outside the picture stays 0."""
    field = spline_field(points, (images.shape[2], images.shape[3]))
    share = (0.5 + _TURN * field).clamp(0, 1)
    return images + share * (1 - 2 * images) * there


def _local_contrast(points: Tensor, images: Tensor, there: Tensor) -> Tensor:
    """Distance from the mean of the picture, times a factor that changes smoothly."""
    factor = spline_field(points, (images.shape[2], images.shape[3])).exp()
    mean = images.sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1)
    return (mean + (images - mean) * factor) * there


def _blurred(parameters: AugmentParameters, images: Tensor) -> Tensor:
    """Gaussian blur, then coarse pixels, of the images that have them."""
    if parameters.smooth_px is not None:
        chosen = torch.nonzero(parameters.smooth_px > 0).flatten()
        blurred = smooth(images[chosen], parameters.smooth_px[chosen])
        images = images.index_copy(0, chosen, blurred)
    if parameters.coarse is not None and bool((parameters.coarse > 1).any()):
        chosen = torch.nonzero(parameters.coarse > 1).flatten()
        blocks = coarse(images[chosen], parameters.coarse[chosen].tolist())
        images = images.index_copy(0, chosen, blocks)
    return images


def _noisy(parameters: AugmentParameters, images: Tensor) -> Tensor:
    """Noise is drawn on the processor, so that every device gets the same."""
    generator = Generator().manual_seed(parameters.noise_seed)

    def picture() -> Tensor:
        return torch.randn(images.shape, generator=generator).to(images.device)

    if bool((parameters.noise > 0).any()):
        images = (images + _wide(parameters.noise) * picture()).abs()
    if parameters.rician is not None:
        sigma = _wide(parameters.rician)
        images = torch.hypot(images.clamp(min=0) + sigma * picture(), sigma * picture())
    return images
