"""Images per second on one core: augmentation by MONAI's transforms and by lvseg's batched ones.

Each kind is measured alone and all of them together, the two in turn. A step of the shipped network
beside them says how fast is fast enough.
Usage: ``python benchmarks/augment_speed.py [--rounds 9] [--batches 4]``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import monai.transforms as mt
import torch
from monai.data import set_track_meta
from provenance import save
from torch import Tensor

from lvseg.train import augment
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import build
from lvseg.train.optimization import dice_cross_entropy
from lvseg.train.options import read_preset

BATCH, SIDES, SIZE, SEED = 16, (256, 224), 128, 20261122
#: Between MONAI's control points; lvseg's are 43 and 26 apart, but MONAI is slower with 43.
COARSE_PX, FINE_PX = 32, 26
PRESET = "lv-sax"
STILL: dict[str, Any] = {
    "rotation_degrees": 0, "flip_chance": 0, "scale": (1, 1), "stretch": (1, 1), "shift_px": 0,
    "anywhere_chance": 0, "elastic_px": 0, "gamma": (1, 1), "gain": (1, 1), "offset": (0, 0),
    "bias": 0, "noise": (0, 0), "blur_chance": 0,
}  # fmt: skip
Batch = tuple[Tensor, Tensor]
Run = Callable[[Tensor, Tensor], Batch]


@dataclass(frozen=True)
class Kind:
    """One kind in both hands; ``pair`` moves image and mask, ``image`` recolours."""

    ours: dict[str, Any]
    pair: tuple[Any, ...] = ()
    image: tuple[Any, ...] = ()


def geometry(spacing_px: int | None = None) -> tuple[Any, ...]:
    """MONAI: a flip, then rotation, scale, shift (and elastic) in one resampling with the crop.

    :param spacing_px: between the control points of the elastic field; None for no such field.
    """
    ranges = {
        "rotate_range": math.pi,
        "scale_range": ((-0.25, 0.35), (-0.25, 0.35)),
        "translate_range": (20, 20),
        "spatial_size": (SIZE, SIZE),
        "padding_mode": "zeros",
        "prob": 1,
    }
    move = (
        mt.RandAffine(**ranges)
        if spacing_px is None
        else mt.Rand2DElastic((spacing_px, spacing_px), magnitude_range=(0, 4), **ranges)
    )
    return (mt.RandFlip(prob=0.5, spatial_axis=1), move)


def kinds() -> dict[str, Kind]:
    """What is compared; the last two are a whole training augmentation."""
    move = {"rotation_degrees": 180, "flip_chance": 0.5, "scale": (0.75, 1.35), "shift_px": 20.0}
    tone = {"gamma": (0.6, 1.7), "gain": (0.7, 1.3), "offset": (-0.1, 0.1)}

    def tones() -> tuple[Any, ...]:
        return (
            mt.RandAdjustContrast(prob=1, gamma=(0.6, 1.7)),
            mt.RandScaleIntensity(prob=1, factors=0.3),
            mt.RandShiftIntensity(prob=1, offsets=0.1),
        )

    def others(chance: float) -> tuple[Any, ...]:
        return (
            mt.RandGaussianSmooth(prob=chance, sigma_x=(0.5, 1.5), sigma_y=(0.5, 1.5)),
            mt.RandSimulateLowResolution(
                prob=chance, zoom_range=(0.4, 1.0), downsample_mode="area", upsample_mode="bilinear"
            ),
            mt.RandRicianNoise(prob=chance, std=0.06, relative=False, sample_std=True),
        )

    def bias() -> Any:
        return mt.RandBiasField(prob=1, degree=3, coeff_range=(0.0, 0.1))

    def whole(chance: float) -> Kind:
        sometimes = dict.fromkeys(("smooth_chance", "coarse_chance", "rician_chance"), chance)
        ours = {**move, **tone, "elastic_px": 4.0, "bias": 0.5, "bias_centred": True, **sometimes}
        return Kind(ours, geometry(COARSE_PX), (bias(), *tones(), *others(chance)))

    smooth, coarse, rician = others(1)
    return {
        "rotation, flip, scale, shift": Kind(move, geometry()),
        "the same, elastic": Kind({**move, "elastic_px": 4.0}, geometry(COARSE_PX)),
        "the same, fine elastic": Kind({**move, "elastic_fine_px": 4.0}, geometry(FINE_PX)),
        "gamma, contrast, brightness": Kind(tone, image=tones()),
        "bias field": Kind({"bias": 0.5, "bias_centred": True}, image=(bias(),)),
        "Gaussian blur": Kind({"smooth_chance": 1}, image=(smooth,)),
        "low resolution": Kind({"coarse_chance": 1}, image=(coarse,)),
        "Rician noise": Kind({"rician_chance": 1}, image=(rician,)),
        "all, blur and noise on 15 % each": whole(0.15),
        "all on every image": whole(1.0),
    }


def by_monai(kind: Kind) -> Run:
    """Image by image, as a data set of MONAI does; image and mask resampled as two channels."""
    for index, transform in enumerate((*kind.pair, *kind.image)):
        transform.set_random_state(SEED + index)

    def run(images: Tensor, masks: Tensor) -> Batch:
        moved, still = [], []
        for image, mask in zip(images, masks, strict=True):
            both = torch.cat([image, mask])
            for transform in kind.pair:
                both = transform(both)
            image = both[:1]
            for transform in kind.image:
                image = transform(image)
            moved.append(image)
            still.append(both[1:])
        return torch.stack(moved), torch.stack(still)

    return run


def by_lvseg(kind: Kind) -> Run:
    """A batch at once: drawn, then applied."""
    options, generator = AugmentOptions(**STILL | kind.ours), torch.Generator().manual_seed(SEED)
    centres = torch.tensor([[SIDES[0] / 2, SIDES[1] / 2]]).repeat(BATCH, 1)

    def run(images: Tensor, masks: Tensor) -> Batch:
        sides = (images.shape[2], images.shape[3])
        drawn = augment.draw_parameters(options, centres, sides, generator)
        if kind.pair:
            images, masks = augment.apply_spatial(drawn, images, masks, SIZE)
        return (augment.apply_intensity(drawn, images), masks) if kind.image else (images, masks)

    return run


def cpu_seconds(run: Callable[[], object]) -> float:
    """Processor time, which a busy machine disturbs less than the clock on the wall."""
    start = time.process_time()
    run()
    return time.process_time() - start


def step_of_the_network() -> Callable[[], object]:
    """Forward and backward of the base network on one batch."""
    torch.manual_seed(SEED)
    network = build(read_preset(PRESET).network).train()
    images = torch.rand(BATCH, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    masks = (torch.rand(BATCH, 1, SIZE, SIZE) > 0.8).float()
    return lambda: dice_cross_entropy(network(images), masks).backward()


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """Median and range over the rounds."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=4, help="per kind and round")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    set_track_meta(False)  # plain tensors: MONAI's faster way
    generator = torch.Generator().manual_seed(SEED)
    whole = torch.rand(BATCH, 1, *SIDES, generator=generator)
    crops = torch.rand(BATCH, 1, SIZE, SIZE, generator=generator)
    compared = {
        name: (whole if kind.pair else crops, by_lvseg(kind), by_monai(kind))
        for name, kind in kinds().items()
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
    step, steps = step_of_the_network(), list[float]()
    recolour, fixed = by_lvseg(Kind({}, image=(None,))), list[float]()
    for _ in range(options.rounds + 1):
        for name, (images, *hands) in compared.items():
            masks = (images > 0.8).float()
            pair = [
                cpu_seconds(lambda: [hand(images, masks) for _ in range(options.batches)])  # noqa: B023
                for hand in hands
            ]
            seconds[name].append((pair[0], pair[1]))
        steps.append(cpu_seconds(step))
        fixed.append(cpu_seconds(lambda: [recolour(crops, crops) for _ in range(options.batches)]))
    count = options.batches * BATCH
    steps_per_image = [value / BATCH for value in steps[1:]]
    rows = {}
    for name, measured in seconds.items():
        timed = measured[1:]  # the first round warms up
        shares = [
            [pair[hand] / count / step for pair, step in zip(timed, steps_per_image, strict=True)]
            for hand in (0, 1)
        ]
        rows[name] = {
            "lvseg_images_per_s": spread([count / ours for ours, _ in timed]),
            "monai_images_per_s": spread([count / theirs for _, theirs in timed]),
            "lvseg_times_as_fast": spread([theirs / ours for ours, theirs in timed], 2),
            "lvseg_share_of_network_step_percent": spread([100 * one for one in shares[0]]),
            "monai_share_of_network_step_percent": spread([100 * one for one in shares[1]]),
        }
        print(f"{name}: {rows[name]['lvseg_times_as_fast']}", flush=True)
    protocol = (
        f"one thread, processor time; {options.rounds} rounds after one to warm up, in each "
        f"{options.batches} batches of {BATCH} per kind and hand, the two in turn, so that the "
        f"ratio is taken within a round; float32 pictures of {SIDES[0]} x {SIDES[1]} cut to "
        f"{SIZE} x {SIZE}, intensity alone on {SIZE} x {SIZE}; drawing included; MONAI's array "
        f"transforms on plain tensors, image by image; lvseg's rows for one intensity include what "
        f"recolouring costs with nothing on; network step: forward and backward, {PRESET}, float32"
    )
    result = {
        "network_images_per_s": spread([1 / value for value in steps_per_image]),
        "lvseg_recolour_nothing_on_images_per_s": spread([count / value for value in fixed[1:]]),
        "kinds": rows,
    }
    save("augment-speed", protocol, result, seed=SEED)


if __name__ == "__main__":
    main()
