"""Batch normalisation at batch size 1: the same weights, normalised in two ways.

In training at batch size 1, batch normalisation takes mean and variance of the one picture; in
inference it takes running averages over many (Ioffe and Szegedy 2015, section 3.1). Where the two
differ, the network that is scored is not the one that was trained. So each network of the paper is
scored once more with every picture's own mean and variance, as it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lvseg.manifest import read_manifest, select
from lvseg.reproduction import comparisons
from lvseg.reproduction.ladder import NETWORKS, Step
from lvseg.reproduction.score import Row, load, score, summary
from lvseg.reproduction.step_run import Place, Rows, read_rows, write_rows

KEPT = "own-statistics"


def two_normalisations(
    place: Place, steps: Sequence[Step], done: Mapping[str, Rows]
) -> dict[str, Any]:
    """Validation Dice of the paper's networks on patients never seen, normalised in both ways."""
    found = dict[str, Any]()
    for step in steps:
        if step.key in {f"official-{kind}" for kind in NETWORKS} & set(done):
            running, own = done[step.key]["validation"], own_rows(step, place, "validation")
            found[step.options.network.kind] = {
                "running": summary(running)["dice"]["mean"],
                "own": summary(own)["dice"]["mean"],
                "difference": comparisons.paired_difference(running, own),
            }
    return found


def own_rows(step: Step, place: Place, part: str) -> tuple[Row, ...]:
    """A finished step on a part of its split, every picture normalised by itself; kept."""
    run, name = place.run(step), f"{KEPT}-{part}"
    if not (run / f"{name}.json").is_file():
        network, options = load(run, place.torch_device())
        data = place.data[step.split]
        samples = select(read_manifest(data, allow_leaks=step.split == "image-level"), part)
        rows = score(with_own_statistics(network), options, data, samples)
        write_rows(run / f"{name}.json", {part: rows})
    return read_rows(run, name)[part]


def with_own_statistics(network: nn.Module) -> nn.Module:
    """The network, whose batch normalisation takes mean and variance of what it is shown.

    The running averages stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 0.0
    return network
