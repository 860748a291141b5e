"""Augmentation in two steps: draw the parameters of a batch, then apply them.

Applying is deterministic, so it can be tested exactly and replayed. Everything works on a whole
batch of tensors: one resampling does rotation, flips, scale, stretch, zoom, shift, elastic
deformation and the crop together, so an image is interpolated once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Generator, Tensor
from torch.nn import functional

from lvseg.modelcard import StrictModel


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected (low, high), found {limits}")
    return limits


Chance = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_FromOne = Annotated[float, Field(ge=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Factor = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
Spread = Annotated[tuple[Size, Size], AfterValidator(_ordered)]
Coarseness = Annotated[tuple[_FromOne, _FromOne], AfterValidator(_ordered)]


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
    :param contraction: the cavity's radius afterwards, as a share of that before, by a radial warp
        around its centre; with the wall it makes an end-systolic or thick-walled heart of any
        slice. :param contraction_reach: where the warp ends, in radii of the cavity before;
        further where the wall would be stretched too much. :param contraction_chance: of it.
    :param reverse_chance: the slices before and after swapped, as from apex to base.
    :param missing_chance: of each input channel but the first to show the frame itself, as it does
        at the ends of a stack and in a picture by itself.
    """

    rotation_degrees: Size = 180.0
    flip_chance: Chance = 0.5
    scale: Factor = (0.75, 1.35)
    stretch: Factor = (0.9, 1.1)
    shift_px: Size = 20.0
    anywhere_chance: Chance = 0.15
    elastic_px: Size = 4.0
    gamma: Factor = (0.6, 1.7)
    gain: Range = (0.7, 1.3)
    offset: Range = (-0.1, 0.1)
    bias: Size = 0.5
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
    contraction: Factor = (0.4, 1.1)
    contraction_reach: Factor = (1.7, 2.5)
    contraction_chance: Chance = 0.0
    reverse_chance: Chance = 0.0
    missing_chance: Chance = 0.0


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
    :param contraction: cavity centre (row, column) and radius in source pixels, its radius
        afterwards as a share of that before, and the reach of the warp in radii, [N, 5].
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
    contraction: Tensor | None = None

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
    options: AugmentOptions,
    centres: Tensor,
    sides: tuple[int, int],
    generator: Generator,
    cavities: Tensor | None = None,
) -> AugmentParameters:
    """Draw the parameters of a batch.

    :param centres: centre of the heart of each image in source pixels (row, column), [N, 2].
    :param sides: (rows, columns) of the source images.
    :param cavities: centre (row, column) and radius of the cavity, [N, 3]; contraction needs it.
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
    drawn = _with_intensity(_with_geometry(first, options, sides, generator), options, generator)
    if options.contraction_chance > 0 and cavities is not None:
        drawn = replace(drawn, contraction=_contraction(options, cavities, generator))
    return drawn


def draw_shown(
    options: AugmentOptions, shown: Tensor, channels: Sequence[str], generator: Generator
) -> Tensor:
    """Which image each input channel shows, changed as the options say, [N, channels].

    :param shown: the images of the data set that they show, the frame itself first.
    :param channels: their names (:data:`lvseg.preprocess.CHANNELS`).
    """
    if options.reverse_chance > 0 and {"slice-before", "slice-after"} <= set(channels):
        pair = [channels.index("slice-before"), channels.index("slice-after")]
        reversed_ = torch.rand(len(shown), 1, generator=generator) < options.reverse_chance
        shown = shown.clone()
        shown[:, pair] = torch.where(reversed_, shown[:, pair[::-1]], shown[:, pair])
    if options.missing_chance > 0 and len(channels) > 1:
        missing = torch.rand(shown.shape, generator=generator) < options.missing_chance
        shown = torch.where(missing, shown[:, :1], shown)
    return shown


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


#: How far beyond the cavity a contraction must reach, per share of the radius that it takes: the
#: wall is then nowhere stretched more than fivefold.
_ROOM = 3.0


def _contraction(options: AugmentOptions, cavities: Tensor, generator: Generator) -> Tensor:
    """Cavity and warp of each image, [N, 5]; a share of 1 leaves an image alone."""
    count = len(cavities)
    share = _uniform(count, options.contraction, generator)
    share = _sometimes(share, options.contraction_chance, 1.0, generator)
    reach = _uniform(count, options.contraction_reach, generator)
    reach = torch.maximum(reach, share + _ROOM * (1 - share))
    return torch.cat([cavities, share[:, None], reach[:, None]], 1)


def contraction_source(radius: Tensor, share: Tensor, reach: Tensor) -> Tensor:
    """Where a radial contraction looks: radius afterwards -> before, both in radii of the cavity.

    Up to 0.7 of the new cavity's radius everything shrinks alike, by ``share``; from there a cubic
    (Hermite) leads the displacement back to 0 at ``reach``. Increasing, and smooth.
    """
    slope = 1 / share - 1
    start = 0.7 * share
    length = reach - start
    t = ((radius - start) / length).clamp(0, 1)
    fade = (2 * t**3 - 3 * t**2 + 1) * slope * start + (t**3 - 2 * t**2 + t) * slope * length
    return radius + torch.where(radius <= start, slope * radius, fade)


def _contracted(contraction: Tensor, source: Tensor) -> Tensor:
    """Source places [N, S, S, 2] of a picture whose cavity has contracted."""
    centre, size = contraction[:, None, None, :2], contraction[:, None, None, 2:3]
    share, reach = contraction[:, None, None, 3:4], contraction[:, None, None, 4:5]
    step = source - centre
    radius = step.norm(dim=-1, keepdim=True) / size.clamp(min=1e-6)
    factor = contraction_source(radius, share, reach) / radius.clamp(min=1e-6)
    return torch.where((size > 0) & (share != 1), centre + step * factor, source)


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
    if parameters.contraction is not None:
        source = _contracted(parameters.contraction, source)
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
