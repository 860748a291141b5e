"""Prediction: what a network says about a cine, on the cine's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import Box, Grid
from lvseg.issues import Issue
from lvseg.labels import Label

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Probabilities of each label around the heart, and what the network saw.

    :param probabilities: ``[C, T, Z, y, x]`` 0..1 inside ``box``; outside they are 0. Channel ``c``
        is the probability of lying inside the outer boundary of ``labels[c]``.
    :param box: on the source grid.
    :param labels: one a channel, the innermost first.
    :param inputs: network input of every frame, ``[T * Z, input channels, rows, columns]``.
    :param scores: probabilities on the grid of ``inputs``, ``[T * Z, C, rows, columns]``.
    :param pixel_ratio: pixels of the model's grid per pixel of the source grid.
    :param seconds: stage -> wall seconds.
    """

    probabilities: FloatArray
    box: Box
    labels: tuple[Label, ...]
    inputs: FloatArray
    scores: FloatArray
    pixel_ratio: float
    issues: tuple[Issue, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def of(self, label: Label) -> FloatArray:
        """Probabilities of one label, ``[T, Z, y, x]`` inside the box.

        :raises ValueError: the network does not know the label.
        """
        result: FloatArray = self.probabilities[self.labels.index(label)]
        return result

    def on_grid(self, label: Label, grid: Grid) -> FloatArray:
        """Probabilities of one label on the whole source grid, ``[T, Z, Y, X]``."""
        found = self.of(label)
        result = np.zeros((len(found), *grid.shape), np.float32)
        self.box.paste(found, result)
        return result
