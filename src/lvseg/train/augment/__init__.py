"""Augmentation in two steps: draw the parameters of a batch, then apply them.

Applying is deterministic, so it can be tested exactly and replayed. Everything works on a whole
batch of tensors: one resampling does rotation, flips, scale, stretch, zoom, shift, elastic
deformation and the crop together, so an image is interpolated once.
"""

from __future__ import annotations

from lvseg.train.augment.colour import recolour
from lvseg.train.augment.drawing import Draw, draw, identity
from lvseg.train.augment.moving import crop
from lvseg.train.augment.options import AugmentOptions

__all__ = ["AugmentOptions", "Draw", "crop", "draw", "identity", "recolour"]
