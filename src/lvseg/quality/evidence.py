"""Evidence: the mask, the cine, the numbers and the prediction that the quality checks look at.

Areas, centroids and elongations of every frame are counted in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.modelcard import ModelCard
from lvseg.prediction import Prediction
from lvseg.quality.limits import Limits
from lvseg.results import LVMeasurements

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class MaskFeatures:
    """What is counted in the cavity of a mask.

    :param inside: cavity ``[F, Z, y, x]`` in ``box``, the smallest that holds all of it; one pixel
        for an empty mask.
    :param touches: whether the cavity touches the border of the image, [F, Z].
    :param areas_px: pixels, [F, Z].
    :param centroids_px: (row, column) in the image, [F, Z, 2]; NaN: empty.
    :param elongation: longest over shortest axis of the ellipse of equal second moments, [F, Z];
        NaN: empty. A circle has 1. Pixels of unknown spacing are taken as square.
    :param ed: row of end-diastole, or the fullest where that is unknown.
    :param es: row of end-systole; None where unknown.
    :param consecutive: neighbouring rows are neighbouring phases.
    :param whole_cycle: the rows are the whole cycle, so the first follows the last.
    :param spacing_mm: (between rows, between columns) of each slice, [Z, 2]; None = unknown.
    """

    inside: BoolArray
    box: Box
    touches: BoolArray
    areas_px: IntArray
    centroids_px: FloatArray
    elongation: FloatArray
    ed: int
    es: int | None
    consecutive: bool
    whole_cycle: bool
    spacing_mm: FloatArray | None


def compute_features(cine: Cine, mask: Mask, measurements: LVMeasurements) -> MaskFeatures:
    """Count the cavity of a mask once."""
    cavity = mask.of(Label.LV_CAVITY)
    box = Box.around(cavity) or Box(0, 0, 1, 1)
    inside = box.crop(cavity)
    edge = cavity[:, :, [0, -1], :].any(axis=(2, 3)) | cavity[:, :, :, [0, -1]].any(axis=(2, 3))
    spacing = mask.grid.pixel_spacings_mm
    areas, centroids, elongation = _moments(inside, (box.top, box.left), spacing)
    ed, es = (
        mask.phases.index(phase) if phase in mask.phases else None
        for phase in (measurements.phases.end_diastole, measurements.phases.end_systole)
    )
    first = mask.phases[0]
    consecutive = mask.phases == tuple(range(first, first + len(areas)))
    return MaskFeatures(
        inside=inside,
        box=box,
        touches=np.asarray(edge),
        areas_px=areas,
        centroids_px=centroids,
        elongation=elongation,
        ed=int(areas.sum(axis=1).argmax()) if ed is None or not areas[ed].any() else ed,
        es=es,
        consecutive=consecutive,
        whole_cycle=consecutive and len(areas) == cine.shape[0],
        spacing_mm=spacing,
    )


def _moments(
    inside: BoolArray, corner: tuple[int, int], spacing: FloatArray | None
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Areas [F, Z], centroids [F, Z, 2] and elongations [F, Z].

    A pixel counts as a square, which adds 1 / 12 to each second moment (Steger, On the calculation
    of arbitrary moments of polygons, technical report FGBV-96-05, TU München 1996).
    """
    shape = inside.shape[:2]
    frames = shape[0] * shape[1]
    frame, y, x = np.nonzero(inside.reshape(frames, *inside.shape[2:]))
    areas: IntArray = np.bincount(frame, minlength=frames)

    def mean(values: NDArray[np.intp]) -> FloatArray:
        sums = np.bincount(frame, values, frames)
        return np.divide(sums, areas, out=np.full(frames, np.nan), where=areas > 0)

    mean_y, mean_x = mean(y), mean(x)
    step_y, step_x = (1.0, 1.0) if spacing is None else np.tile(spacing, (shape[0], 1)).T
    yy = (mean(y * y) - mean_y**2 + 1 / 12) * step_y**2
    xx = (mean(x * x) - mean_x**2 + 1 / 12) * step_x**2
    yx = (mean(y * x) - mean_y * mean_x) * step_y * step_x
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    elongation = np.sqrt((middle + half) / (middle - half))
    centroids = np.stack([mean_y + corner[0], mean_x + corner[1]], axis=-1)
    return areas.reshape(shape), centroids.reshape(*shape, 2), elongation.reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Everything a check may look at; each check takes this and yields issues.

    :param mask: of the cine; ``measurements`` come from it.
    :param prediction: what the mask was made of, before clean-up; None for a mask from elsewhere.
    :param card: of the model that predicted.
    :param left_out: what the clean-up reported.
    :param features: of the mask, counted here once.
    """

    cine: Cine
    mask: Mask
    measurements: LVMeasurements
    prediction: Prediction | None = None
    card: ModelCard | None = None
    limits: Limits = field(default_factory=Limits)
    left_out: tuple[Issue, ...] = ()
    features: MaskFeatures = field(init=False)

    def __post_init__(self) -> None:
        features = compute_features(self.cine, self.mask, self.measurements)
        object.__setattr__(self, "features", features)
