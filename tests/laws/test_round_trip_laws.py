"""A mask stays where it is in the patient through every export, and so does its volume.

Truth is worked out here voxel by voxel: place of the pixel centre, pixel area times the height its
slice stands for. Of each file only what stands in the file is used. A NIfTI has one affine: where
slices have no single distance (a gap, a shift) it is a best fit, and must say so; DICOM SEG and
contours hold any stack.
"""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from lvseg.cine import Cine, InstanceRef, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.measurement import measure
from lvseg.read import read_mask
from lvseg.results import StudyResult
from lvseg.write import write_mask
from lvseg.write.contours import write_contours
from lvseg.write.segmentation import write_segmentations

MR = "1.2.840.10008.5.1.4.1.1.4"
WITHIN_MM, WITHIN_SHARE = 0.01, 0.001

#: Volume (mm3) and centroid (LPS mm; None when empty) of each phase.
Moments = list[tuple[float, np.ndarray | None]]


def heights_mm(planes) -> np.ndarray:
    """Half the way to each neighbour; half the usual distance at the ends."""
    normal = np.cross(planes[0].column_step, planes[0].row_step)
    places = [float(normal @ plane.origin_mm) for plane in planes]
    steps = [abs(b - a) for a, b in pairwise(places)]
    usual = float(np.median(steps))
    return np.array([usual, *steps]) / 2 + np.array([*steps, usual]) / 2


def of_mask(mask: Mask) -> Moments:
    """Voxel by voxel, from labels and planes."""
    found: Moments = []
    for labels in mask.labels:
        points, weights = [np.zeros((0, 3))], [np.zeros(0)]
        for inside, plane, height in zip(labels, mask.planes, heights_mm(mask.planes), strict=True):
            rows, columns = np.nonzero(inside)
            down = np.outer(rows * plane.pixel_spacing_mm[0], plane.row_step)
            right = np.outer(columns * plane.pixel_spacing_mm[1], plane.column_step)
            points.append(np.asarray(plane.origin_mm) + down + right)
            weights.append(np.full(len(rows), height * np.prod(plane.pixel_spacing_mm)))
        weight, point = np.concatenate(weights), np.concatenate(points)
        centre = weight @ point / weight.sum() if weight.size else None
        found.append((float(weight.sum()), centre))
    return found


def of_nifti(path: Path) -> Moments:
    """Voxels through the affine of the file, RAS to LPS."""
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    voxel_mm3 = abs(np.linalg.det(image.affine[:3, :3]))
    found: Moments = []
    for phase in range(data.shape[3]):
        index = np.argwhere(data[..., phase] == 1)
        places = index @ image.affine[:3, :3].T + image.affine[:3, 3]
        centre = places.mean(axis=0) * (-1, -1, 1) if len(index) else None
        found.append((len(index) * voxel_mm3, centre))
    return found


def of_contours(path: Path) -> Moments:
    """Shoelace in space times slab height; a hole counts against."""
    document = json.loads(path.read_text())
    found: Moments = []
    for phase in range(document["shape"]["phases"]):
        volume, moment = 0.0, np.zeros(3)
        for entry in document["contours"]:
            if entry["phase"] != phase:
                continue
            points = np.array(entry["points_mm"])
            here = points - points[0]
            after = np.roll(here, -1, axis=0)
            cross = np.cross(here, after)
            whole = cross.sum(axis=0) / 2
            area = float(np.linalg.norm(whole))
            shares = cross @ (whole / area) / 2
            centre = points[0] + shares @ (here + after) / 3 / area
            height = document["slices"][entry["slice"]]["slab_height_mm"]
            part = area * height * (-1 if entry["hole"] else 1)
            volume, moment = volume + part, moment + part * centre
        found.append((volume, moment / volume if volume else None))
    return found


def agree(found: Moments, truth: Moments) -> None:
    assert len(found) == len(truth)
    for (volume, centre), (true_volume, true_centre) in zip(found, truth, strict=True):
        assert volume == pytest.approx(true_volume, rel=WITHIN_SHARE)
        assert (centre is None) == (true_centre is None)
        if centre is not None:
            assert np.linalg.norm(centre - true_centre) < WITHIN_MM


def study_of(labels: np.ndarray, planes: tuple[Plane, ...]) -> tuple[Mask, Cine, dict]:
    """A mask on all phases of a DICOM cine, and headers of its images."""
    phases, slices = labels.shape[:2]
    names = [[f"1.2.3.4.{t + 1}.{z + 1}" for z in range(slices)] for t in range(phases)]
    source = Source(
        "dicom",
        "made",
        study_uid="1.2.3.4.1001",
        series_uid="1.2.3.4.1002",
        instances=tuple(tuple(InstanceRef(MR, name) for name in row) for row in names),
    )
    times_ms = tuple(41.0 * t for t in range(phases))
    cine = Cine(
        np.zeros(labels.shape, np.float32),
        source,
        grid=Grid.of(np.zeros(labels.shape, np.float32), planes=planes),
        times_ms=times_ms,
    )
    headers = {}
    for name in (name for row in names for name in row):
        header = headers[name] = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = MR, name
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3.4.1001", "1.2.3.4.1002"
        header.FrameOfReferenceUID, header.PatientID = "1.2.3.4.1003", "TEST-ROUND-TRIP"
    return Mask(labels, tuple(range(phases)), grid=Grid.of(labels, planes=planes)), cine, headers


def check_exports(labels: np.ndarray, planes: tuple[Plane, ...], *, regular: bool) -> Moments:
    mask, cine, headers = study_of(labels, planes)
    truth = of_mask(mask)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        issues = write_mask(mask, folder / "m.nii.gz", cine.source, times_ms=cine.times_ms)
        assert [issue.code for issue in issues] == ([] if regular else ["irregular-affine"])
        if regular:
            agree(of_nifti(folder / "m.nii.gz"), truth)
        write_contours(mask, cine, folder / "c.json")
        agree(of_contours(folder / "c.json"), truth)
        result = StudyResult(cine, mask, measure(mask), (), None)
        ((path,), _) = write_segmentations(result, folder, headers)
        for like in (None, cine):
            again = read_mask(path, like=like)
            assert again.phases == mask.phases
            agree(of_mask(again), truth)
    return truth


@st.composite
def turns(draw: st.DrawFn) -> np.ndarray:
    """Columns are unit vectors of a column step, a row step and the normal; any orientation."""
    numbers = draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
    turn, _ = np.linalg.qr(np.reshape(numbers, (3, 3)) + 2 * np.eye(3))
    axes = draw(st.permutations(range(3)))
    flips = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    return turn[:, axes] * flips


@st.composite
def stacks(draw: st.DrawFn, slices: int, kind: str) -> tuple[Plane, ...]:
    """Slices with the normal or against it: evenly, with a gap, or shifted in plane as well.

    A leaning stack is shifted by the same amount from slice to slice, which an affine can hold.
    """
    turn = draw(turns())
    spacing = (draw(st.floats(0.6, 1.4)), draw(st.floats(1.5, 3)))
    spacing = spacing[:: draw(st.sampled_from([1, -1]))]
    step = draw(st.floats(4, 12))
    places = np.arange(slices) * step
    if kind in ("gap", "shifted"):
        places[draw(st.integers(1, slices - 1)) :] += draw(st.floats(0.4, 2)) * step
    lean = (draw(st.floats(-1, 1)), draw(st.floats(-1, 1))) if kind == "leaning" else (0.0, 0.0)
    start = np.array([draw(st.floats(-200, 200)) for _ in range(3)])
    planes = []
    for place in places:
        origin = start + turn @ [lean[0] * place, lean[1] * place, place]
        if kind == "shifted":
            origin = origin + turn[:, :2] @ [draw(st.floats(-9, 9)), draw(st.floats(-9, 9))]
        planes.append(
            Plane(tuple(origin.tolist()), tuple(turn[:, 1]), tuple(turn[:, 0]), spacing, 4.0)
        )
    return tuple(planes)


def scattered(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Pieces of any form with holes and islands; some slices and now and then a phase are empty."""
    random = np.random.default_rng(seed)
    labels = (random.random(shape) < random.uniform(0.05, 0.8)).astype(np.uint8)
    return labels * (random.random(shape[:2]) < 0.7).astype(np.uint8)[..., None, None]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    data=st.data(),
    shape=st.tuples(st.integers(2, 3), st.integers(3, 5), st.integers(5, 8), st.integers(9, 12)),
    kind=st.sampled_from(["even", "leaning", "gap", "shifted"]),
    seed=st.integers(0, 10**6),
)
def test_place_and_volume_survive_every_export(data, shape, kind, seed) -> None:
    planes = data.draw(stacks(shape[1], kind))
    check_exports(scattered(shape, seed), planes, regular=kind in ("even", "leaning"))


def worked(heights: tuple[float, ...]) -> tuple[np.ndarray, tuple[Plane, ...]]:
    """2 x 3 pixels in the first two slices, 2 pixels in the third, rows 1.5 and columns 1.25 mm."""
    labels = np.zeros((1, 3, 5, 7), np.uint8)
    labels[0, :2, 1:3, 2:5] = 1
    labels[0, 2, 1:3, 3] = 1
    planes = tuple(
        Plane((10.0, 20.0, z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.25)) for z in heights
    )
    return labels, planes


def test_a_stack_by_hand() -> None:
    ((volume, centre),) = check_exports(*worked((0.0, 8.0, 16.0)), regular=True)
    # 14 pixels of 1.5 x 1.25 mm, 8 mm high
    assert volume == pytest.approx(14 * 1.875 * 8)
    # x: 10 + 3 x 1.25; y: 20 + 1.5 x 1.5; z: (6 x 0 + 6 x 8 + 2 x 16) / 14
    assert centre == pytest.approx((13.75, 22.25, 80 / 14))


def test_a_stack_of_unequal_distances_by_hand() -> None:
    ((volume, centre),) = check_exports(*worked((0.0, 8.0, 18.0)), regular=False)
    # distances 8 and 10, usual 9: heights 8.5, 9 and 9.5; pixels of 1.875 mm2
    assert volume == pytest.approx((6 * 8.5 + 6 * 9 + 2 * 9.5) * 1.875)  # 232.5
    # z: (6 x 8.5 x 0 + 6 x 9 x 8 + 2 x 9.5 x 18) / 124 = 774 / 124
    assert centre == pytest.approx((13.75, 22.25, 774 / 124))


def test_the_judge_sees_a_tenth_of_a_millimetre_and_two_in_a_thousand() -> None:
    labels, planes = worked((0.0, 8.0, 16.0))
    truth = of_mask(study_of(labels, planes)[0])
    moved = [
        (volume, centre + np.array([0.1, 0, 0])) for volume, centre in truth if centre is not None
    ]
    grown = [(volume * 1.002, centre) for volume, centre in truth]
    for wrong in (moved, grown):
        with pytest.raises(AssertionError):
            agree(wrong, truth)
