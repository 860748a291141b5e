"""Validation split of a search: its patients, its data set folder, and the Dice of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from lvseg.errors import UsageError
from lvseg.manifest import Sample, folds, patients, select, unaugmented, write_manifest
from lvseg.train.options import TrainOptions
from lvseg.train.validation import ValidationSet, label_figures, slice_overlaps

#: Names of splits that hold test patients; ``all`` would include them.
TEST_SPLITS = frozenset({"online", "test", "testing", "all"})
#: Where a recipe names no validation split, one of so many parts of its training patients is.
FOLDS = 5
TRAINING, VALIDATION = "training", "validation"


def split_samples(
    samples: Sequence[Sample], options: TrainOptions, seed: int
) -> tuple[Sample, ...]:
    """Samples of a recipe with the splits ``training`` and ``validation``, by patient.

    Without a validation split one of five parts of the training patients is. Augmented copies are
    never in it.

    :raises UsageError: a split of test patients, or a patient on both sides.
    """
    for key, value in options.model_dump().items():
        named = {part.strip().lower() for part in str(value).split("+")}
        if key.endswith("_split") and named & TEST_SPLITS:
            raise UsageError(
                f"expected a recipe that leaves test patients alone, found {key} = '{value}': a "
                "search may see training and validation patients only"
            )
    training = select(samples, options.train_split)
    if options.validation_split is None:
        validation = folds(training, min(FOLDS, len(patients(training))), seed=seed)[0]
        training = tuple(
            sample for sample in training if sample.patient_id not in set(patients(validation))
        )
    else:
        validation = select(samples, options.validation_split)
    both = set(patients(training)) & set(patients(validation))
    if both:
        raise UsageError(
            f"expected other patients in '{options.validation_split}' than in "
            f"'{options.train_split}', found {len(both)} in both: choose other splits"
        )
    return (
        *(replace(sample, split=TRAINING) for sample in training),
        *(replace(sample, split=VALIDATION) for sample in unaugmented(validation)),
    )


def linked_dataset(dataset: Path, samples: Sequence[Sample], folder: Path) -> None:
    """Make ``folder`` a data set of the same images with a manifest of its own.

    ``images``, ``masks`` and ``dataset.json``, if there is one, are links to those of ``dataset``.
    """
    folder.mkdir(exist_ok=True)
    for name in ("images", "masks", "dataset.json"):
        source, link = (dataset / name).resolve(), folder / name
        link.unlink(missing_ok=True)
        if source.exists():
            link.symlink_to(source, target_is_directory=source.is_dir())
    write_manifest(samples, folder)


def patient_dice(
    network: nn.Module, data: ValidationSet, options: TrainOptions
) -> dict[str, float]:
    """Mean Dice of each patient, over labels and the images that show them.

    Empty images do not count; a patient with no others is left out.
    """
    found: dict[str, list[float]] = {}
    rows = slice_overlaps(network, data, options)
    for sample, row in zip(data.slices.samples, rows, strict=True):
        if row.any():
            dice = label_figures(row, options.labels)["dice"]
            found.setdefault(sample.patient_id, []).append(dice)
    return {patient: sum(each) / len(each) for patient, each in found.items()}
