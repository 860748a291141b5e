"""The data sets of the reproduction: two augmented sets of pictures, split in four ways."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lvseg.atomic import write_text
from lvseg.errors import UsageError
from lvseg.manifest import (
    MANIFEST,
    ORIGINAL,
    Sample,
    manifest_text,
    patients,
    read_dataset_facts,
    read_manifest,
    select,
    split_by_patient,
    write_dataset_facts,
)
from lvseg.reproduction.ladder import Scale, Split
from lvseg.reproduction.offline_augmentation import augment, image_level_split, paper_counts

#: Split name -> its folder below that of the reproduction.
Splits = Mapping[Split, Path]
#: What a data set may call the patients of the final judgement.
TEST_NAMES = ("online", "test", "testing")
#: Column of the manifest: 1 for a frame without cavity that lvseg prepare added.
EMPTY = "empty"


def make(dataset: Path, folder: Path, scale: Scale, seed: int) -> Splits:
    """Write the data sets of the reproduction into ``folder``; what is there already is kept.

    The pictures of ``image-level`` and ``patient-shares`` are the same: all originals and their
    copies. ``official`` has as many training pictures, made of training patients only.

    :raises UsageError: a data set without training, validation and test patients.
    """
    samples = paper_samples(dataset)
    counts = paper_counts(scale.total)
    rest = len(samples) - len(select(samples, "training"))
    folder.mkdir(parents=True, exist_ok=True)
    plain, everyone, training = (
        folder / name for name in ("originals", "pool-all", "pool-training")
    )
    _link(dataset, _mixed(samples, seed), plain)
    if not everyone.exists():
        augment(plain, everyone, scale.total, seed=seed)
    if not training.exists():
        total = counts["training"] + rest
        augment(plain, training, total, split="training", seed=seed)
    pool = read_manifest(everyone)
    shares = {name: float(count) for name, count in counts.items()}
    dealt: dict[Split, tuple[Path, Sequence[Sample]]] = {
        "image-level": (everyone, image_level_split(pool, counts, seed)),
        "patient-shares": (everyone, split_by_patient(pool, shares, seed=seed, stratify=False)),
        "official": (training, read_manifest(training)),
    }
    for name, (source, chosen) in dealt.items():
        select(chosen, "training+validation+test")  # all three are there
        _link(source, _mixed(chosen, seed), folder / name)
    return {"originals": plain, **{name: folder / name for name in dealt}}


def paper_samples(dataset: Path) -> tuple[Sample, ...]:
    """Samples of the data set, with its test patients in a split called ``test``.

    Frames that the manifest marks as ``empty`` are left out: the paper has drawn cavities only.

    :raises UsageError: no training, validation or test patients.
    """
    samples = read_manifest(dataset)
    present = {sample.split for sample in samples}
    named = [name for name in TEST_NAMES if name in present]
    if len(named) != 1 or not {"training", "validation"} <= present:
        raise UsageError(
            "expected a data set with the splits training, validation and online (or test), found "
            f"{', '.join(sorted(present))}: make one with  lvseg prepare"
        )
    kept = select(samples, f"training+validation+{named[0]}")
    drawn = [sample for sample in kept if dict(sample.extra).get(EMPTY) != "1"]
    return tuple(
        replace(sample, split="test") if sample.split == named[0] else sample for sample in drawn
    )


def _mixed(samples: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """Samples in random order: the paper shuffles once, before it splits."""
    order = np.random.default_rng(seed).permutation(len(samples))
    return tuple(samples[int(index)] for index in order)


def _link(source: Path, samples: Sequence[Sample], folder: Path) -> None:
    """Write a data set folder of the same pictures with other splits, leaking or not."""
    folder.mkdir(exist_ok=True)
    for name in ("images", "masks"):
        (folder / name).unlink(missing_ok=True)
        target = (source / name).resolve()
        inside = target.is_relative_to(folder.parent.resolve())
        place = Path(os.path.relpath(target, folder.resolve())) if inside else target
        (folder / name).symlink_to(place, target_is_directory=True)
    write_text(folder / MANIFEST, manifest_text(samples))
    write_dataset_facts(read_dataset_facts(source), folder)


def shared_patients(samples: Sequence[Sample], first: str, second: str) -> tuple[str, ...]:
    """Patients with pictures in both splits."""
    both = [set(patients(select(samples, name))) for name in (first, second)]
    return tuple(sorted(both[0] & both[1]))


def facts(splits: Splits) -> dict[str, Any]:
    """Pictures and patients of every split, and how many patients stand on both sides of it."""
    found: dict[str, Any] = {}
    for name, folder in splits.items():
        samples = read_manifest(folder, allow_leaks=True)
        parts = ("training", "validation", "test")
        found[name] = {
            "pictures": dict(Counter(sample.split for sample in samples)),
            "copies": sum(bool(dict(sample.extra).get(ORIGINAL)) for sample in samples),
            "patients": {part: len(patients(select(samples, part))) for part in parts},
            "patients_in_training_and_test": len(shared_patients(samples, "training", "test")),
        }
    return found
