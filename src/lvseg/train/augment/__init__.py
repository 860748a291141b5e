"""Augmentation in two steps: draw the parameters of a batch, then apply them.

Applying is deterministic, so it can be tested exactly and replayed. Everything works on a whole
batch of tensors: one resampling does rotation, flips, scale, stretch, zoom, shift, elastic
deformation and the crop together, so an image is interpolated once.
"""

from __future__ import annotations

from lvseg.train.augment.intensity import apply_intensity
from lvseg.train.augment.options import AugmentOptions
from lvseg.train.augment.parameters import AugmentParameters, draw_parameters, identity_parameters
from lvseg.train.augment.spatial import apply_spatial

__all__ = [
    "AugmentOptions",
    "AugmentParameters",
    "apply_intensity",
    "apply_spatial",
    "draw_parameters",
    "identity_parameters",
]
