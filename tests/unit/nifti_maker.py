"""Short-axis stacks as NIfTI: usual, with axes in any order, or contradicting themselves."""

from __future__ import annotations

import struct
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

#: A double-oblique short axis, index (column, row, slice) -> RAS mm; steps 1.5, 1.25 and 9 mm.
_ALONG = np.array([-0.77, -0.62, 0.16]) / np.linalg.norm([-0.77, -0.62, 0.16])
_DOWN = np.array([0.15, -0.41, -0.90])
_DOWN = (_DOWN - _ALONG * (_ALONG @ _DOWN)) / np.linalg.norm(_DOWN - _ALONG * (_ALONG @ _DOWN))
SHORT_AXIS = np.eye(4)
SHORT_AXIS[:3, :3] = np.stack([_ALONG, _DOWN, np.cross(_ALONG, _DOWN)], axis=1) * [1.5, 1.25, 9.0]
SHORT_AXIS[:3, 3] = (40, -30, 20)

#: Every order and direction in which the axes of a file may run: 48.
ORDERS = [
    tuple(axis * sign for axis, sign in zip(order, signs, strict=True))
    for order in permutations((1, 2, 3))
    for signs in product((1, -1), repeat=3)
]


def grey(*shape: int) -> np.ndarray:
    """Values that tell every voxel from its neighbours."""
    return (np.arange(np.prod(shape)) % 997).astype(np.int16).reshape(shape)


def reoriented(
    data: np.ndarray, affine: np.ndarray, axes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with their axes in another order: axis n of the result is ``axes[n]``.

    Worked out with nibabel's orientations, which the reader does not use.
    """
    codes = np.zeros((3, 2))
    for place, axis in enumerate(axes):
        codes[abs(axis) - 1] = (place, np.sign(axis))
    turned = nib.orientations.apply_orientation(data, codes)
    back = nib.orientations.inv_ornt_aff(codes, data.shape[:3])
    return turned, affine @ back


def save(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray | None = SHORT_AXIS,
    *,
    unit: str = "mm",
    step_ms: float | None = None,
) -> Path:
    """A NIfTI file; sform and qform of the affine, sizes of the pixels to match."""
    image = nib.Nifti1Image(np.ascontiguousarray(data), affine)
    image.header.set_xyzt_units(unit, "msec")
    if step_ms is not None:
        image.header["pixdim"][4] = step_ms
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def overwrite(path: Path, **fields: object) -> Path:
    """Change bytes of a saved ``.nii``, which libraries would repair (nifti1.h).

    :param fields: ``sform`` (matrix), ``qform`` (matrix), ``pixdim`` (three sizes), ``codes``
        (qform_code, sform_code), ``dim_info`` (one byte), ``qfac`` (1 or -1).
    """
    content = bytearray(path.read_bytes())
    if "dim_info" in fields:
        content[39] = int(str(fields["dim_info"]))
    if "qform" in fields:
        image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None)
        image.header.set_qform(np.asarray(fields["qform"]), 1)
        content[256:280] = bytes(image.header.binaryblock)[256:280]
    if "sform" in fields:
        content[280:328] = struct.pack("<12f", *np.asarray(fields["sform"], float)[:3].ravel())
    if "qfac" in fields:
        content[76:80] = struct.pack("<f", float(str(fields["qfac"])))
    if "pixdim" in fields:
        content[80:92] = struct.pack("<3f", *np.asarray(fields["pixdim"], float))
    if "codes" in fields:
        content[252:256] = struct.pack("<2h", *np.asarray(fields["codes"], int))
    path.write_bytes(content)
    return path
