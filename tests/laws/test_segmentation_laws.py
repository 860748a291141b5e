"""Laws of DICOM Segmentations: orientations, distances and gaps come back as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import seg_maker
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_export import EXPORTS
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane, index_to_mm
from lvseg.read import read_mask, read_source_headers, read_study
from lvseg.read.stack import LEFT_VENTRICLE_AXIS
from lvseg.write.segmentation import write_segmentations

LAW = settings(derandomize=True, deadline=None, max_examples=8)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Plane, ...]:
    """Short-axis planes, up to 30 degrees off, of both handednesses and unequal distances."""
    first, second = np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(2, 3))
    usual = np.array(LEFT_VENTRICLE_AXIS) / np.linalg.norm(LEFT_VENTRICLE_AXIS)
    across = usual + 0.5 * first / np.linalg.norm(first)
    row = np.cross(across, second) / np.linalg.norm(np.cross(across, second))
    column = np.cross(row, across) / np.linalg.norm(across) * draw(st.sampled_from((1.0, -1.0)))
    axis = np.cross(column, row)
    steps = draw(st.lists(st.floats(6.0, 9.5), min_size=2, max_size=4))
    if draw(st.booleans()):
        steps[draw(st.integers(0, len(steps) - 1))] *= 2  # a missing slice
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    spacing = (draw(st.floats(0.7, 1.3)), draw(st.floats(1.4, 2.1)))
    origin = np.array([draw(st.floats(-200, 200)) for _ in range(3)])
    return tuple(
        Plane(
            origin_mm=tuple(float(v) for v in origin + height * axis),
            row_step=tuple(float(v) for v in row),
            column_step=tuple(float(v) for v in column),
            pixel_spacing_mm=spacing,
            thickness_mm=6.5,
        )
        for height in heights
    )


def centroid_mm(mask: Mask, phase: int) -> np.ndarray:
    """Mean place of the cavity of a phase, LPS."""
    assert mask.planes is not None
    points = [
        index_to_mm(plane, np.argwhere(labels).astype(np.float64))
        for plane, labels in zip(mask.planes, mask.labels[phase], strict=True)
    ]
    mean: np.ndarray = np.concatenate(points).mean(axis=0)
    return mean


@LAW
@given(stacks(), st.integers(2, 4), st.booleans(), st.integers(0, 10**6))
def test_a_mask_comes_back_to_its_pixels_and_its_place(
    planes: tuple[Plane, ...], phases: int, enhanced: bool, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    frames = numbers.integers(0, 900, (phases, len(planes), 16, 19)).astype(np.float32)
    cine = Cine(
        frames=frames,
        source=Source("array", "made"),
        grid=Grid.of(frames, planes=planes),
        times_ms=tuple(15.0 + 180.0 * t for t in range(phases)),
        view="short-axis",
    )
    labels = numbers.integers(0, 2, frames.shape).astype(np.uint8)
    labels[numbers.random(frames.shape[:2]) < 0.3] = 0
    labels[:, 1, 3, 4] = 1
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "in", Path(name) / "out"
        EXPORTS[enhanced](cine, source)
        read = read_study(source).short_axis()
        result = seg_maker.result_of(read, labels)
        (path,), issues = write_segmentations(result, folder, read_source_headers(source, read))
        assert issues == ()
        for mask in (read_mask(path), read_mask(path, like=read)):
            np.testing.assert_array_equal(mask.labels, labels)
            drawn = Mask(labels, mask.phases, grid=Grid.of(labels, planes=planes))
            for phase in range(phases):
                distance = np.linalg.norm(centroid_mm(mask, phase) - centroid_mm(drawn, phase))
                assert distance < 0.01
