"""The NIfTI file of a layout, written byte by byte, and the cine it holds.

NIfTI-1.1 (nifti1.h, R. W. Cox, 2004) and NIfTI-2, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from layout_model import NiftiLayout
from layout_truth import STEP_MS, TrueSlice, Truth, directions, picture, spacings
from numpy.typing import NDArray

from lvseg.geometry import Plane, vector

_CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "uint16": 512}
_LENGTHS = {"mm": 2, "unknown": 0, "metre": 1, "micron": 3}
_TIMES = {"sec": (8, 1e-3), "msec": (16, 1.0), "usec": (24, 1e3), "unknown": (0, 1.0)}
RAS = np.diag([-1.0, -1.0, 1.0])


def steps_mm(layout: NiftiLayout) -> tuple[float, float, float]:
    """(between rows, between columns, between slices)."""
    row, column, step = spacings(layout.seed)
    return {
        "thick slices": (row, column, step),
        "equal pixels": (row, row, step),
        "cubes": (row, row, row),
        "thin slices": (row, column, round(row * 1.1, 3)),
    }[layout.steps]


def data_of(layout: NiftiLayout) -> NDArray[np.float64]:
    """Grey values [T, Z, Y, X]."""
    phases = 1 if layout.shape == "one phase" else layout.phases
    values = np.array(
        [
            [picture("rest", place, phase / phases) for place in range(layout.slices)]
            for phase in range(phases)
        ],
        np.float64,
    )
    return values // 16 if layout.values == "uint8" else values


def affine_of(layout: NiftiLayout) -> NDArray[np.float64]:
    """Index (column, row, slice) -> RAS mm of the cine as it is."""
    across, down = directions(layout.seed)
    row, column, step = steps_mm(layout)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = across * column, down * row
    matrix[:3, 2] = np.cross(across, down) * step
    matrix[:3, 3] = (12.0, -34.0, 56.0)
    matrix[:3] = RAS @ matrix[:3]
    return matrix


def truth(layout: NiftiLayout) -> Truth:
    """The cine that a reader must give."""
    values = data_of(layout).astype(np.float32)
    if layout.values == "scaled":
        values = values * np.float32(0.5) + np.float32(3)
    across, down = directions(layout.seed)
    row, column, step = steps_mm(layout)
    normal = np.cross(across, down)
    slices = tuple(
        TrueSlice(
            Plane(
                vector(np.array([12.0, -34.0, 56.0]) + normal * step * place),
                vector(down),
                vector(across),
                (row, column),
            ),
            values[:, place],
        )
        for place in range(layout.slices)
    )
    phases = len(values)
    told = layout.time_units not in ("unknown", "no step") and phases > 1
    times = tuple(STEP_MS * phase for phase in range(phases)) if told else None
    placed = layout.forms not in ("neither", "identity")
    found = Truth(slices, times, placed=placed)
    return (
        _shifted(layout, found) if layout.forms == "sheared" and layout.axes[0][1] == 2 else found
    )


def _shifted(layout: NiftiLayout, found: Truth) -> Truth:
    """What a shear along the slice axis says: each slice lies further along one side of the plane.

    No header says otherwise: stacks that lean are acquired so, and their pixels are not sheared.
    """
    order, signs = layout.axes
    sides = {0: "column_step", 1: "row_step"}
    slices = []
    for place, one in enumerate(found.slices):
        step = np.array(getattr(one.plane, sides[order[0]]))
        step = step * steps_mm(layout)[1 - order[0]] * signs[0]
        at = place if signs[1] > 0 else layout.slices - 1 - place
        origin = np.array(one.plane.origin_mm) + 0.4 * at * step
        slices.append(replace(one, plane=replace(one.plane, origin_mm=vector(origin))))
    return replace(found, slices=tuple(slices))


def _turned(
    layout: NiftiLayout, values: NDArray[np.float64], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Array [i, j, k, t] and affine with the axes in the order of the layout."""
    order, signs = layout.axes
    array = values.transpose(3, 2, 1, 0).transpose(*order, 3)
    turned = matrix.copy()
    turned[:3, :3] = matrix[:3, list(order)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            turned[:3, 3] += turned[:3, axis] * (array.shape[axis] - 1)
            turned[:3, axis] *= -1
    return array, turned


def quaternion(matrix: NDArray[np.float64]) -> tuple[list[float], list[float], float]:
    """(b, c, d), the three sizes and qfac of an affine (nifti1.h, method 2)."""
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    turn = matrix[:3, :3] / sizes
    handed = float(np.linalg.det(turn))
    if handed < 0:
        turn = turn.copy()
        turn[:, 2] *= -1
    values = np.linalg.eigh(
        np.array(
            [
                [turn[0, 0] - turn[1, 1] - turn[2, 2], 0, 0, 0],
                [turn[0, 1] + turn[1, 0], turn[1, 1] - turn[0, 0] - turn[2, 2], 0, 0],
                [turn[0, 2] + turn[2, 0], turn[1, 2] + turn[2, 1],
                 turn[2, 2] - turn[0, 0] - turn[1, 1], 0],
                [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1],
                 turn[0, 0] + turn[1, 1] + turn[2, 2]],
            ]
        ) / 3
    )  # fmt: skip
    b, c, d, a = values.eigenvectors[:, np.argmax(values.eigenvalues)]
    if a < 0:
        b, c, d = -b, -c, -d
    return [float(b), float(c), float(d)], sizes.tolist(), 1.0 if handed > 0 else -1.0


def _header(layout: NiftiLayout, shape: tuple[int, ...], matrix: NDArray[np.float64]) -> bytes:
    order = ">" if layout.dialect == "big endian" else "<"
    second = layout.dialect == "nifti2"
    scale = {"metre": 1e-3, "micron": 1e3}.get(layout.units, 1.0)
    matrix = matrix.copy()
    matrix[:3] *= scale
    qform, sform = matrix.copy(), matrix.copy()
    if layout.forms == "qform 20 % shorter":
        qform[:3, :3] *= 0.8
    elif layout.forms == "sform 20 % shorter":
        sform[:3, :3] *= 0.8
    elif layout.forms == "sform of zeros":
        sform[:3] = 0
    elif layout.forms == "sheared":
        sform[:3, 1] += 0.4 * sform[:3, 0]
    elif layout.forms == "identity":
        qform = sform = np.eye(4)
    (b, c, d), sizes, qfac = quaternion(qform)
    codes = (0, 0) if layout.forms == "neither" else (1, 1)
    if layout.forms in ("qform", "sform"):
        codes = (1, 0) if layout.forms == "qform" else (0, 1)
    if layout.forms == "sheared":
        codes = (0, 1)
    length = _LENGTHS[layout.units.split()[0]]
    time_code, per_ms = _TIMES.get(layout.time_units, (8, 0.0))
    pixdim = [qfac, *sizes, STEP_MS * per_ms if len(shape) > 3 else 0.0, 0.0, 0.0, 0.0]
    dim = [len(shape), *shape] + [1] * (7 - len(shape))
    stored = "int16" if layout.values == "scaled" else layout.values
    code, bits = _CODES[stored], 8 * np.dtype(stored).itemsize
    slope = (0.5, 3.0) if layout.values == "scaled" else (1.0, 0.0)
    units = length | time_code
    pair = layout.dialect == "pair of files"
    rows = [*sform[0], *sform[1], *sform[2]]
    quaternions = (b, c, d, *qform[:3, 3])
    if second:
        head = struct.pack(order + "i8shh8q3d8dq", 540, b"n+2\0\r\n\x1a\n", code, bits, *dim,
                           0, 0, 0, *pixdim, 544)  # fmt: skip
        head += struct.pack(order + "2d2d2d2q", *slope, 0, 0, 0, 0, 0, 0)
        head += b"\0" * 104 + struct.pack(order + "2i6d12d", *codes, *quaternions, *rows)
        head += struct.pack(order + "3i", 0, units, 0) + b"\0" * 16 + b"\0" + b"\0" * 15
        return head + b"\0" * 4
    head = struct.pack(order + "i35sb8h3f4h", 348, b"", 0, *dim, 0, 0, 0, 0, code, bits, 0)
    head += struct.pack(order + "8f3fhbb", *pixdim, 0 if pair else 352, *slope, 0, 0, units)
    head += struct.pack(order + "4f2i", 0, 0, 0, 0, 0, 0) + b"\0" * 104
    head += struct.pack(order + "2h6f12f", *codes, *quaternions, *rows)
    head += b"\0" * 16 + (b"ni1\0" if pair else b"n+1\0")
    return head if pair else head + b"\0" * 4


def write(layout: NiftiLayout, root: Path) -> tuple[Path, tuple[Truth, ...]]:
    """Write the file below ``root``: the path to give to the reader, and the cine it holds."""
    return _written(layout, root), (truth(layout),)


def _written(layout: NiftiLayout, root: Path) -> Path:
    array, matrix = _turned(layout, data_of(layout), affine_of(layout))
    if layout.shape == "one phase":
        array = array[..., 0]
    elif layout.shape == "5D":
        array = array[..., None]
    stored = np.dtype("int16" if layout.values == "scaled" else layout.values)
    order = ">" if layout.dialect == "big endian" else "<"
    pixels = array.astype(stored.newbyteorder(order)).tobytes(order="F")
    head = _header(layout, array.shape, matrix)
    folder = root / ("a/b/patient001" if layout.packing == "deep folders" else "case")
    folder.mkdir(parents=True)
    if layout.dialect == "pair of files":
        return _pair(layout, folder, head, pixels)
    if layout.packing == "zip":
        with zipfile.ZipFile(root / "case.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("x/case.nii"), head + pixels)
        return root / "case.zip"
    if layout.packing == "gz":
        (folder / "case.nii.gz").write_bytes(gzip.compress(head + pixels, 1))
        return folder / "case.nii.gz"
    (folder / "case.nii").write_bytes(head + pixels)
    if layout.packing == "label map beside":
        labels = (array % 4).astype(stored.newbyteorder(order)).tobytes(order="F")
        (folder / "case_gt.nii").write_bytes(head + labels)
        return folder
    return root / "a" if layout.packing == "deep folders" else folder / "case.nii"


def _pair(layout: NiftiLayout, folder: Path, head: bytes, pixels: bytes) -> Path:
    if layout.packing == "zip":
        with zipfile.ZipFile(folder / "case.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("case.hdr"), head)
            archive.writestr(zipfile.ZipInfo("case.img"), pixels)
        return folder / "case.zip"
    ending, pack = (".gz", lambda data: gzip.compress(data, 1)) if layout.packing == "gz" else (
        "", lambda data: data
    )  # fmt: skip
    (folder / f"case.hdr{ending}").write_bytes(pack(head))
    (folder / f"case.img{ending}").write_bytes(pack(pixels))
    return folder if layout.packing == "deep folders" else folder / f"case.hdr{ending}"
