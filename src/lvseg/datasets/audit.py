"""Audit of a data set folder: pairing, broken masks, PHI, duplicates, leaks, balance, facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.datasets.duplicates import Thumbnail, repeated, thumbnail
from lvseg.datasets.folder import Progress, first_names
from lvseg.datasets.phi_scan import phi_issues
from lvseg.errors import DatasetError, ReadError
from lvseg.issues import Issue, Severity
from lvseg.labels import Label
from lvseg.manifest import (
    DATASET,
    DatasetFacts,
    Sample,
    check_leaks,
    image_path,
    image_sha256,
    mask_path,
    patients,
    read_dataset_facts,
    read_manifest,
)
from lvseg.read import read_picture

#: A cavity never fills this much of a cardiac image; a mask that does is inverted or foreign.
FULL_SHARE = 0.5
#: Shares of patients that differ more than this between two splits are worth a warning.
SHARE_DIFFERENCE = 0.25
#: Likewise mean ages, in years.
AGE_DIFFERENCE = 10.0


@dataclass(frozen=True, slots=True)
class SplitBalance:
    """Patients of one split: how many, and by pathology and sex; age mean, least and most."""

    patients: int
    images: int
    pathology: Mapping[str, int]
    sex: Mapping[str, int]
    age: tuple[float, float, float] | None

    def document(self) -> dict[str, object]:
        """Plain values for JSON."""
        age = None
        if self.age is not None:
            age = dict(zip(("mean", "min", "max"), self.age, strict=True))
        return {
            "patients": self.patients,
            "images": self.images,
            "pathology": dict(self.pathology),
            "sex": dict(self.sex),
            "age": age,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What :func:`check` found.

    :param empty: masks without cavity, marked as such or not.
    """

    dataset: Path
    images: int
    patients: int
    empty: int
    balance: Mapping[str, SplitBalance]
    issues: tuple[Issue, ...]

    @property
    def ok(self) -> bool:
        """No issue is an error."""
        return all(issue.severity != "error" for issue in self.issues)

    @property
    def exit_code(self) -> int:
        """Exit status of the command line: 0, or 3 with errors."""
        return 0 if self.ok else DatasetError.exit_code

    def document(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "dataset": str(self.dataset),
            "ok": self.ok,
            "images": self.images,
            "patients": self.patients,
            "empty": self.empty,
            "balance": {split: part.document() for split, part in self.balance.items()},
            "findings": [issue.to_dict() for issue in self.issues],
        }


@dataclass(slots=True)
class _Faults:
    """File names by kind of fault."""

    names: dict[str, list[str]]

    def add(self, code: str, file: str) -> None:
        self.names.setdefault(code, []).append(file)

    def issues(self) -> list[Issue]:
        return [
            Issue(code, severity, f"{len(files)} {text}: {first_names(files, 5)}")
            for code, (severity, text) in _FAULTS.items()
            if (files := self.names.get(code))
        ]


_FAULTS: Mapping[str, tuple[Severity, str]] = {
    "missing-image": ("error", "image(s) of the manifest are missing"),
    "missing-mask": ("error", "mask(s) of the manifest are missing"),
    "unlisted-image": ("warning", "image(s) are not in the manifest"),
    "unlisted-mask": ("warning", "mask(s) are not in the manifest"),
    "unreadable-image": ("error", "image(s) cannot be read as grey pictures"),
    "unreadable-mask": ("error", "mask(s) cannot be read as grey pictures"),
    "constant-image": ("error", "image(s) have one grey value throughout"),
    "size-mismatch": ("error", "mask(s) differ in size from their image"),
    "mask-values": ("error", "mask(s) hold values other than 0 and 255, or labels"),
    "empty-mask": ("warning", "mask(s) are empty without being marked so (column empty = 1)"),
    "not-empty": ("error", "mask(s) are marked empty and are not"),
    "full-mask": ("error", "mask(s) cover more than half of the image"),
}


def check(dataset: Path, *, progress: Progress | None = None) -> Audit:
    """Audit a data set folder.

    Looks at pairing, broken or empty masks, identifiers left in files (kinds are reported, never
    contents), equal and nearly equal images, patients on both sides of a split, the balance of the
    splits by pathology, sex and age, and facts that the data set does not state.

    :raises DatasetError: no readable manifest, or a broken ``dataset.json``.
    """
    dataset = Path(dataset)
    samples = read_manifest(dataset, allow_leaks=True)
    facts = read_dataset_facts(dataset)
    faults = _Faults({})
    _check_pairing(dataset, samples, faults)
    hashes: dict[str, str] = {}
    thumbnails: dict[str, Thumbnail] = {}
    empty = 0
    for index, sample in enumerate(samples):
        pixels = _check_sample(dataset, sample, faults)
        if pixels is not None:
            image, blank = pixels
            empty += blank
            hashes[sample.file] = image_sha256(image_path(dataset, sample))
            thumbnails[sample.file] = thumbnail(image)
        if progress is not None:
            progress(index + 1, len(samples))
    parts = balance(samples)
    issues = [
        *faults.issues(),
        *check_leaks(samples, hashes),
        *repeated(samples, thumbnails),
        *phi_issues(dataset, samples),
        *_balance_issues(parts),
        *_unknown_facts(facts),
    ]
    return Audit(
        dataset=dataset,
        images=len(samples),
        patients=len(patients(samples)),
        empty=empty,
        balance=parts,
        issues=tuple(issues),
    )


def _check_pairing(dataset: Path, samples: Sequence[Sample], faults: _Faults) -> None:
    listed = {sample.file for sample in samples}
    for kind, folder in (("image", dataset / "images"), ("mask", dataset / "masks")):
        present = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
        for file in listed - present:
            faults.add(f"missing-{kind}", file)
        for file in present - listed:
            faults.add(f"unlisted-{kind}", file)


def _read(path: Path, code: str, sample: Sample, faults: _Faults) -> NDArray[np.float32] | None:
    if not path.is_file():
        return None
    try:
        return read_picture(path)
    except ReadError:
        faults.add(code, sample.file)
        return None


def _check_sample(
    dataset: Path, sample: Sample, faults: _Faults
) -> tuple[NDArray[np.float32], bool] | None:
    """The image and whether its mask is empty; None where the image cannot be read."""
    image = _read(image_path(dataset, sample), "unreadable-image", sample, faults)
    mask = _read(mask_path(dataset, sample), "unreadable-mask", sample, faults)
    if image is not None and float(np.ptp(image)) == 0:
        faults.add("constant-image", sample.file)
    blank = False
    if mask is not None:
        if image is not None and image.shape != mask.shape:
            faults.add("size-mismatch", sample.file)
        values = set(np.unique(mask).tolist())
        if not (values <= {0.0, 255.0} or values <= set(Label)):
            faults.add("mask-values", sample.file)
        blank = values == {0.0}
        marked = dict(sample.extra).get("empty") == "1"
        if blank and not marked:
            faults.add("empty-mask", sample.file)
        elif marked and not blank:
            faults.add("not-empty", sample.file)
        if float((mask > 0).mean()) > FULL_SHARE:
            faults.add("full-mask", sample.file)
    return None if image is None else (image, blank)


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    known = [value or "unknown" for value in values]
    return {name: known.count(name) for name in sorted(set(known))}


def balance(samples: Sequence[Sample]) -> dict[str, SplitBalance]:
    """Patients of each split by pathology, sex and age; a patient counts once, by the first row."""
    result: dict[str, SplitBalance] = {}
    for split in sorted({sample.split for sample in samples}):
        rows = [sample for sample in samples if sample.split == split]
        people = list({sample.patient_id: sample for sample in reversed(rows)}.values())
        ages = [sample.age for sample in people if sample.age is not None]
        result[split] = SplitBalance(
            patients=len(people),
            images=len(rows),
            pathology=_counts(sample.pathology for sample in people),
            sex=_counts(sample.sex for sample in people),
            age=(round(float(np.mean(ages)), 1), min(ages), max(ages)) if ages else None,
        )
    return result


def _balance_issues(parts: Mapping[str, SplitBalance]) -> list[Issue]:
    issues = []
    tables = {
        "pathology": {split: part.pathology for split, part in parts.items()},
        "sex": {split: part.sex for split, part in parts.items()},
    }
    for topic, counts in tables.items():
        for name in sorted({name for table in counts.values() for name in table}):
            shares = {s: table.get(name, 0) / parts[s].patients for s, table in counts.items()}
            low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
            if shares[high] - shares[low] > SHARE_DIFFERENCE:
                issues.append(
                    Issue(
                        f"unbalanced-{topic}",
                        "warning",
                        f"{topic} {name}: {shares[high]:.0%} of the patients in {high}, "
                        f"{shares[low]:.0%} in {low}",
                    )
                )
    means = {split: part.age[0] for split, part in parts.items() if part.age is not None}
    if means and max(means.values()) - min(means.values()) > AGE_DIFFERENCE:
        low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        issues.append(
            Issue(
                "unbalanced-age",
                "warning",
                f"mean age {means[high]:.0f} years in {high}, {means[low]:.0f} in {low}",
            )
        )
    return issues


def _unknown_facts(facts: DatasetFacts) -> list[Issue]:
    if not facts.unknown:
        return []
    text = f"{DATASET} does not state {', '.join(facts.unknown)}: a model card will say unknown"
    return [Issue("unknown-facts", "info", text)]
