"""Elements of a DICOM header, and of the functional groups of its frames (PS3.3 C.7.6.16).

What a frame does not say, all frames share, and the rest stands in the object itself: an element is
therefore looked for in several datasets, in order. A value that breaks its own type is no value.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from lvseg.errors import GeometryError
from lvseg.geometry import Plane


def frame_parts(dataset: Dataset) -> list[list[Dataset]]:
    """For each frame the first item of each functional group: its own, then the shared ones."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    common = _first_items(shared[0])
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    return [[*_first_items(groups), *common] for groups in frames]


def _first_items(groups: Dataset) -> list[Dataset]:
    return [item for element in groups if element.VR == "SQ" for item in element.value[:1]]


def find(parts: Iterable[Dataset], tag: str | int) -> Any:
    """The first value of an element that is there and not empty; None where there is none.

    :param tag: its keyword, or its number.
    """
    for part in parts:
        value = _value(part, tag)
        if value is not None and value != "":
            return value
    return None


def _value(part: Dataset, tag: str | int) -> Any:
    try:
        element = part.get(_tag(tag))
        return None if element is None else element.value
    except Exception:  # an element that breaks its own type can fail anywhere in the parser
        return None


@cache
def _tag(name: str | int) -> BaseTag:
    return Tag(name)


def number(parts: Iterable[Dataset], tag: str | int) -> float | None:
    """The first value of an element as a number; None where it is absent or no number."""
    try:
        value = find(parts, tag)
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def whole_number(dataset: Dataset, tag: str | int) -> int | None:
    """A whole number of a dataset; None where it is absent or no number."""
    value = number([dataset], tag)
    return None if value is None else int(value)


def text(dataset: Dataset, tag: str | int) -> str:
    """A value of a dataset as text; "" where it is absent."""
    value = _value(dataset, tag)
    return "" if value is None else str(value).strip()


def listed(value: Any) -> list[Any]:
    """The values of an element of any multiplicity."""
    if value is None or isinstance(value, str | int | float):
        return [value] if value not in (None, "") else []
    return list(value)


def plane_of(parts: Iterable[Dataset]) -> Plane | None:
    """The plane of ImagePositionPatient, ImageOrientationPatient and PixelSpacing.

    None where one is absent or they make no plane; a thickness of 0 is unknown. Source: PS3.3
    C.7.6.2.1.1, where the first three cosines are the direction in which the column index grows.
    """
    position = _numbers(find(parts, "ImagePositionPatient"), 3)
    cosines = _numbers(find(parts, "ImageOrientationPatient"), 6)
    spacing = _numbers(find(parts, "PixelSpacing"), 2)
    if position is None or cosines is None or spacing is None:
        return None
    try:
        return Plane(
            origin_mm=(position[0], position[1], position[2]),
            row_step=(cosines[3], cosines[4], cosines[5]),
            column_step=(cosines[0], cosines[1], cosines[2]),
            pixel_spacing_mm=(spacing[0], spacing[1]),
            thickness_mm=number(parts, "SliceThickness") or None,
        )
    except GeometryError:
        return None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count else None
