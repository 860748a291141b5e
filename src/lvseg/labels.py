"""Labels of a mask: what its numbers stand for, their colours and DICOM codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryError


class Label(IntEnum):
    """Values of a label array."""

    BACKGROUND = 0
    LV_CAVITY = 1

    @property
    def word(self) -> str:
        """The label as one word of a sentence.

        >>> Label.LV_CAVITY.word
        'cavity'
        """
        return self.name.rpartition("_")[2].lower()


@dataclass(frozen=True, slots=True)
class CodedConcept:
    """A term of a coding scheme (DICOM PS3.3 section 8.1)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class LabelInfo:
    """How a label is named, painted (8-bit RGB) and coded (None: nothing to code)."""

    name: str
    colour: tuple[int, int, int]
    code: CodedConcept | None


LABELS: Mapping[Label, LabelInfo] = MappingProxyType(
    {
        Label.BACKGROUND: LabelInfo("background", (0, 0, 0), None),
        Label.LV_CAVITY: LabelInfo(
            "left ventricle cavity",
            (230, 60, 60),
            CodedConcept("277066005", "SCT", "Cavity of left cardiac ventricle"),
        ),
    }
)


def remap(labels: NDArray[np.uint8], table: Mapping[int, Label]) -> NDArray[np.uint8]:
    """Translate foreign label numbers into ours.

    :param labels: any shape.
    :param table: foreign number -> :class:`Label`; every number found must be in it.
    :raises GeometryError: a number is not in the table.

    >>> remap(np.array([[0, 3]], np.uint8), {0: Label.BACKGROUND, 3: Label.LV_CAVITY}).tolist()
    [[0, 1]]
    """
    found = np.unique(labels)
    unknown = [int(value) for value in found if int(value) not in table]
    if unknown:
        raise GeometryError(
            f"expected only the labels {sorted(table)}, found {unknown}: extend the label table"
        )
    lookup = np.zeros(256, np.uint8)
    for foreign, label in table.items():
        lookup[foreign] = label
    result: NDArray[np.uint8] = lookup[labels]
    return result
