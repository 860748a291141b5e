"""A mask with a label that :class:`lvseg.labels.Label` does not have."""

from __future__ import annotations

import numpy as np

from lvseg.cine import Cine, Mask
from lvseg.labels import LABELS, LabelInfo

#: What lvseg.labels.LABELS would be with a second label.
WALL = 2
TWO_LABELS = {**LABELS, WALL: LabelInfo("wall", (60, 120, 230), None)}


class TwoLabelMask:
    """What writers ask of a mask, on the grid and phases of a mask of one label.

    :param labels: [F, Z, Y, X], 1 and :data:`WALL`.
    """

    def __init__(self, mask: Mask, labels: np.ndarray) -> None:
        self.labels, self.phases, self.grid = labels, mask.phases, mask.grid
        self.labels_present = tuple(np.unique(labels)[1:].tolist())

    def of(self, label: int) -> np.ndarray:
        return self.labels == label

    def on(self, cine: Cine) -> None:
        assert self.grid.same_place(cine.grid)
