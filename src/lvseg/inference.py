"""Inference: localize the heart, crop, predict, put the probabilities back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from lvseg import preprocess
from lvseg.cine import Cine
from lvseg.labels import Label
from lvseg.modelcard import InputSpec
from lvseg.predict import Network, predict
from lvseg.prediction import Prediction


def infer(
    cine: Cine,
    network: Network,
    spec: InputSpec,
    labels: Sequence[Label] = (Label.LV_CAVITY,),
    *,
    batch_size: int = 4,
    flips: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Predict every frame of a cine: the one path of the product, of training and of benchmarks.

    A coarse pass over a few full frames finds the heart; one box around it is cropped from every
    frame, predicted, and put back on the grid of the cine.

    :param network: ``[N, input channels, Y, X]`` -> logits ``[N, len(labels), Y, X]``.
    :param spec: what its input is like; :param labels: what its channels mean, innermost first.
    :param batch_size: crops predicted at once; full frames are fewer, of as many pixels.
    :param flips: average four mirrored predictions of each frame (docs/decisions/0005).
    :param progress: called with (frames done, frames in all).
    :raises ModelInputError: the frames do not fit the network.
    """
    started = perf_counter()
    prepared = preprocess.prepare(cine, spec)
    located = perf_counter()
    frames = preprocess.locator_frames(prepared)
    # a full frame is as much work, and memory, as many crops
    size = max(1, batch_size * spec.crop_px**2 // (frames.shape[2] * frames.shape[3]))
    found = predict(frames, network, batch_size=size, flips=flips)
    box = preprocess.find_box(prepared, found[:, 0])
    cropped = perf_counter()
    inputs = preprocess.crop(prepared, box)
    scores = predict(inputs, network, batch_size=batch_size, flips=flips, progress=progress)
    predicted = perf_counter()
    return Prediction(
        probabilities=preprocess.restore(scores, prepared, box),
        box=preprocess.source_box(prepared, box),
        labels=tuple(labels),
        inputs=inputs,
        scores=scores,
        pixel_ratio=prepared.factors[0] * prepared.factors[1],
        issues=prepared.issues,
        seconds={
            "prepare": located - started,
            "locate": cropped - located,
            "predict": predicted - cropped,
        },
    )
