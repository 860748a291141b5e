"""Segmentation networks: described by frozen options, then built.

The four networks of the paper are members of one family, :mod:`.encoder_decoder`:

1. ``encoder-decoder``: convolution blocks, down and up again, nothing else;
2. ``se-encoder-decoder``: with the paper's attention module; the variant behind its numbers;
3. ``unet``: with skip connections (Ronneberger 2015);
4. ``se-attention-unet``: the module, skip connections and attention gates (Oktay 2018).

What the paper calls spatial attention is, by its formula, residual channel recalibration
(squeeze-and-excitation, Hu 2018): :class:`.attention.Recalibration`. The attention gate and the
spatial map of CBAM (Woo 2018) are other modules and stand beside it under their own names.
"""

from __future__ import annotations

from lvseg.train.network.assembly import build, count_parameters
from lvseg.train.network.options import NetworkOptions, Parts, doubling

__all__ = ["NetworkOptions", "Parts", "build", "count_parameters", "doubling"]
