"""Labels of a mask: what its numbers stand for, their colours and DICOM codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Tag of a segment in files without a time axis: the phase of the cine, an index from 0.
PHASE_TAG = "lvseg.phase"


class Label(IntEnum):
    """Values of a label array; structures are nested, and an inner one has the smaller number."""

    BACKGROUND = 0
    LV_CAVITY = 1
    LV_MYOCARDIUM = 2

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
        Label.LV_MYOCARDIUM: LabelInfo(
            "left ventricle myocardium",
            (70, 190, 255),
            CodedConcept("49848007", "SCT", "Left Ventricle Myocardium"),  # PS3.16 CID 12305
        ),
    }
)


def remap(values: NDArray[Any], table: Mapping[int, Label]) -> NDArray[np.uint8]:
    """Translate the label values of another tool into ours; a value not in the table is background.

    :param values: whole numbers of any shape and type.
    :param table: value there -> :class:`Label`.

    >>> remap(np.array([[0, 3, 255]]), {3: Label.LV_CAVITY}).tolist()
    [[0, 1, 0]]
    """
    result = np.zeros(values.shape, np.uint8)
    for value, label in table.items():
        result[values == value] = label
    return result
