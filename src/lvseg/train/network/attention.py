"""Attention modules: three ways to weigh a feature map, each under its own name.

All keep the shape ``[N, C, Y, X]`` of what they weigh.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recalibration(nn.Module):
    """Residual squeeze-and-excitation: ``x + x * s``, one weight ``s`` in 0..1 a channel.

    ``s = sigmoid(W2 relu(W1 mean(x) + b1) + b2)``, the mean over rows and columns, W1 to
    ``channels / reduction`` (Hu 2018, eq. 2 to 4). The sum with the input is the paper's, which
    calls this module spatial attention; it knows channels and no places.

    At batch size 1 directly behind batch normalisation, and always behind instance normalisation,
    the mean of a channel is the layer's own shift, whatever the image: ``s`` is then a constant.
    In the paper's setting this holds in training for the modules in front of the decoder blocks.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, inner)
        self.excite = nn.Linear(inner, channels)

    def weights(self, features: Tensor) -> Tensor:
        """One weight for each channel, [N, C]."""
        inner = torch.relu(self.squeeze(features.mean((2, 3))))
        return torch.sigmoid(self.excite(inner))

    def forward(self, features: Tensor) -> Tensor:
        """Add the weighted map to the map."""
        return features + features * self.weights(features)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Spatial attention of CBAM: ``x * m``, one weight ``m`` in 0..1 a pixel (Woo 2018, eq. 3).

    ``m = sigmoid(conv7x7([mean over channels; maximum over channels]))``, borders padded with 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)

    def weights(self, features: Tensor) -> Tensor:
        """One weight for each pixel, [N, 1, Y, X]."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return torch.sigmoid(self.convolution(pooled))

    def forward(self, features: Tensor) -> Tensor:
        """Multiply the map with the weights."""
        return features * self.weights(features)


class AttentionGate(nn.Module):
    """Additive attention gate on a skip: ``x * a``, one weight ``a`` in 0..1 a pixel.

    ``a = sigmoid(psi relu(Wx x + Wg g + b) + b_psi)``, all of them 1x1 convolutions, Wx and Wg to
    half of the channels (Oktay 2018, eq. 1 and 2). There g comes from the coarser level and ``a``
    is brought to the grid of x; here the decoder's map g is on that grid already, so the gate
    interpolates nothing. No normalisation inside, as in the formula.

    :param channels: of the skip ``x``; :param gating_channels: of the decoder's map ``g``.
    """

    def __init__(self, channels: int, gating_channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.skip = nn.Conv2d(channels, inner, 1, bias=False)
        self.gating = nn.Conv2d(gating_channels, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)

    def weights(self, skip: Tensor, gating: Tensor) -> Tensor:
        """One weight for each pixel, [N, 1, Y, X]; both maps have the same rows and columns."""
        return torch.sigmoid(self.psi(torch.relu(self.skip(skip) + self.gating(gating))))

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Multiply the skip with the weights."""
        return skip * self.weights(skip, gating)
