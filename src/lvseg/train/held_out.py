"""Who judges a search: patients that no trial learns from, and the score of a network on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lvseg.errors import UsageError
from lvseg.manifest import Sample, folds, patients, select, write_manifest
from lvseg.train.dataset import Slices
from lvseg.train.monitor import watch
from lvseg.train.options import TrainOptions

__all__ = ["HELD_OUT", "TRAINING", "divide", "link", "patient_dice"]

#: Names of splits that hold patients kept for the final judgement; ``all`` would include them.
KEPT = frozenset({"online", "test", "testing", "all"})
#: Share of the training patients held out where a recipe names no validation split: one of five.
FOLDS = 5
TRAINING, HELD_OUT = "training", "held-out"


def divide(samples: Sequence[Sample], options: TrainOptions, seed: int) -> tuple[Sample, ...]:
    """Cases of a recipe with the splits ``training`` and ``held-out``, by patient.

    Without a validation split one of five parts of the training patients is held out. Augmented
    copies are never held out.

    :raises UsageError: a split kept for the final judgement, or a patient on both sides.
    """
    for key, value in options.model_dump().items():
        named = {part.strip().lower() for part in str(value).split("+")}
        if key.endswith("_split") and named & KEPT:
            raise UsageError(
                f"expected a recipe that leaves test patients alone, found {key} = '{value}': a "
                "search may see training and validation patients only"
            )
    training = select(samples, options.train_split)
    if options.validation_split is not None:
        held_out = select(samples, options.validation_split)
        both = set(patients(training)) & set(patients(held_out))
        if both:
            raise UsageError(
                f"expected other patients in '{options.validation_split}' than in "
                f"'{options.train_split}', found {len(both)} in both: choose other splits"
            )
    else:
        held_out = folds(training, min(FOLDS, len(patients(training))), seed=seed)[0]
    out = set(patients(held_out))
    originals = [sample for sample in held_out if not dict(sample.extra).get("original")]
    kept = [sample for sample in training if sample.patient_id not in out]
    return tuple(
        replace(sample, split=split)
        for split, part in ((TRAINING, kept), (HELD_OUT, originals))
        for sample in part
    )


def patient_dice(network: nn.Module, data: Slices, options: TrainOptions) -> dict[str, float]:
    """Mean Dice of each patient, as :func:`lvseg.train.monitor.watch` has it for a split.

    Pictures without cavity do not count; a patient with no others is left out.
    """
    rows: dict[str, list[int]] = {}
    for index, sample in enumerate(data.samples):
        if not data.empty[index]:
            rows.setdefault(sample.patient_id, []).append(index)
    parts = {patient: _part(data, chosen) for patient, chosen in rows.items()}
    return {patient: watch(network, part, options)["dice"] for patient, part in parts.items()}


def _part(data: Slices, rows: Sequence[int]) -> Slices:
    """Some pictures of a split."""
    values: dict[str, Any] = {field.name: getattr(data, field.name) for field in fields(Slices)}
    for key, value in values.items():
        tensor = isinstance(value, Tensor)
        values[key] = value[list(rows)] if tensor else tuple(value[row] for row in rows)
    return Slices(**values)


def link(dataset: Path, samples: Sequence[Sample], folder: Path) -> None:
    """A data set folder of the same pictures with the splits of the search."""
    folder.mkdir(exist_ok=True)
    for name in ("images", "masks"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to((dataset / name).resolve(), target_is_directory=True)
    write_manifest(samples, folder)
