"""Out-of-distribution check: Mahalanobis distance of image features from the training images.

A few plain features of the crop around the heart are compared with their spread over the training
images. A network says something about any image; on one unlike those it knows, that means little.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.errors import ModelCardError
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.modelcard import FeatureStatistics
from lvseg.quality.evidence import Evidence

FloatArray = NDArray[np.float64]
Frames = NDArray[np.float32]

#: What is measured in each frame, in this order. It and the numbers below are no limits of a check:
#: the feature statistics of model cards are made with them.
FEATURES = ("mean", "spread", "skewness", "edges", "grain", "cavity", "cavity_spread", "rim")
#: So many frames describe a study; more only cost time.
_FRAMES = 24
#: A smaller cavity says little about its own brightness.
_FEWEST_PX = 30
#: The wall of the ventricle lies between these distances from the cavity, in pixels of 1.3 mm.
_RIM_PX = (2, 7)


def features(inputs: Frames, scores: Frames) -> FloatArray:
    """Features of each frame that holds a cavity, ``[N, len(FEATURES)]``; at most 24 frames.

    :param inputs: what the network saw, its first channel in 0..1, ``[N, channels, Y, X]``;
    :param scores: its probabilities of cavity, ``[N, Y, X]``.
    """
    areas = (scores > 0.5).sum(axis=(1, 2))
    held = np.flatnonzero(areas >= _FEWEST_PX)
    if held.size > _FRAMES:
        held = held[np.linspace(0, held.size - 1, _FRAMES).round().astype(int)]
    rows = [_describe(inputs[i, 0].astype(np.float64), scores[i] > 0.5) for i in held]
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def _describe(frame: FloatArray, inside: NDArray[np.bool_]) -> list[float]:
    mean, spread = float(frame.mean()), float(frame.std()) + 1e-6
    down, right = np.gradient(frame)
    grain = frame - ndimage.gaussian_filter(frame, 1.0)
    depth = ndimage.distance_transform_edt(~inside)
    rim = (depth >= _RIM_PX[0]) & (depth <= _RIM_PX[1])
    return [
        mean,
        spread,
        float(((frame - mean) ** 3).mean()) / spread**3,
        float(np.hypot(down, right).mean()) / spread,
        float(np.log(grain.std() / spread + 1e-6)),
        (float(frame[inside].mean()) - mean) / spread,
        float(frame[inside].std()) / spread,
        (float(frame[rim].mean()) - mean) / spread,
    ]


def distance(found: FloatArray, usual: FeatureStatistics) -> float:
    """Mahalanobis distance of the mean features ``[N, K]`` from the training images.

    Source: Mahalanobis, Proc Natl Inst Sci India 1936;2:49-55.
    """
    offset = found.mean(axis=0) - np.array(usual.mean)
    return float(np.sqrt(max(0.0, offset @ np.array(usual.precision) @ offset)))


def ood_check(evidence: Evidence) -> Iterator[Issue]:
    """Input unlike the training images; nothing without statistics of them or without cavity.

    :raises ModelCardError: the card has statistics of other features.
    """
    prediction, card = evidence.prediction, evidence.card
    if prediction is None or card is None or card.feature_statistics is None:
        return
    scores = prediction.scores[:, prediction.labels.index(Label.LV_CAVITY)]
    found = features(prediction.inputs, scores)
    if not len(found):
        return
    usual = card.feature_statistics
    if len(usual.mean) != len(FEATURES):
        raise ModelCardError(
            f"expected feature statistics of {len(FEATURES)} features on the card of {card.name}, "
            f"found {len(usual.mean)}: calibrate and export the model with this version of lvseg"
        )
    far, limit = distance(found, usual), usual.limit
    if far > limit:
        text = (
            f"The images are unlike those that taught the network (distance {far:.1f}, usual up to "
            f"{limit:.1f}): its masks must be looked at."
        )
        yield Issue("unlike-training-data", "warning", text)
