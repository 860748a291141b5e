"""Audit of a data set folder: pairing, broken masks, identifiers, duplicates, leaks, balance."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.datasets.folder import Progress, first_names
from lvseg.datasets.identifiers import burnt_in_text, phi_issues
from lvseg.errors import DatasetError, ReadError
from lvseg.issues import Issue, Severity
from lvseg.json_text import jsonable
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
#: Between patients of the Sunnybrook set (45, 819 images) likeness never exceeds 0.83; one image
#: saved again as JPEG, at half size, shifted by a pixel, with noise or gamma 0.8 stays above 0.98.
NEAR_CORRELATION = 0.97
_EDGE = 24
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class SplitBalance:
    """Patients of one split: how many, and by pathology and sex; mean, min and max of their age."""

    patients: int
    images: int
    pathology: Mapping[str, int]
    sex: Mapping[str, int]
    age: Mapping[str, float] | None


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
        values: dict[str, object] = jsonable(self)
        issues = values.pop("issues")
        return {"dataset": str(self.dataset), "ok": self.ok} | values | {"findings": issues}


#: File names by kind of fault.
_Faults = defaultdict[str, list[str]]
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
    "burnt-in-text": (
        "warning",
        "image(s) may hold burnt-in text, which may name a patient: look at them",
    ),
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
    faults = _Faults(list)
    _check_pairing(dataset, samples, faults)
    hashes: dict[str, str] = {}
    thumbnails: dict[str, Thumbnail] = {}
    empty = 0
    for index, sample in enumerate(samples):
        pixels = _check_sample(dataset, sample, faults)
        if pixels is not None:
            image, blank = pixels
            empty += blank
            if burnt_in_text(image):
                faults["burnt-in-text"].append(sample.file)
            hashes[sample.file] = image_sha256(image_path(dataset, sample))
            thumbnails[sample.file] = thumbnail(image)
        if progress is not None:
            progress(index + 1, len(samples))
    parts = balance(samples)
    issues = [
        *(
            Issue(code, severity, f"{len(faults[code])} {text}: {first_names(faults[code], 5)}")
            for code, (severity, text) in _FAULTS.items()
            if faults[code]
        ),
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
            faults[f"missing-{kind}"].append(file)
        for file in present - listed:
            faults[f"unlisted-{kind}"].append(file)


def _read(path: Path, code: str, sample: Sample, faults: _Faults) -> NDArray[np.float32] | None:
    if not path.is_file():
        return None
    try:
        return read_picture(path)
    except ReadError:
        faults[code].append(sample.file)
        return None


def _check_sample(
    dataset: Path, sample: Sample, faults: _Faults
) -> tuple[NDArray[np.float32], bool] | None:
    """The image and whether its mask is empty; None where the image cannot be read."""
    image = _read(image_path(dataset, sample), "unreadable-image", sample, faults)
    mask = _read(mask_path(dataset, sample), "unreadable-mask", sample, faults)
    if image is not None and float(np.ptp(image)) == 0:
        faults["constant-image"].append(sample.file)
    blank = False
    if mask is not None:
        if image is not None and image.shape != mask.shape:
            faults["size-mismatch"].append(sample.file)
        values = set(np.unique(mask).tolist())
        if not (values <= {0.0, 255.0} or values <= set(Label)):
            faults["mask-values"].append(sample.file)
        blank = values == {0.0}
        marked = dict(sample.extra).get("empty") == "1"
        if blank and not marked:
            faults["empty-mask"].append(sample.file)
        elif marked and not blank:
            faults["not-empty"].append(sample.file)
        if float((mask > 0).mean()) > FULL_SHARE:
            faults["full-mask"].append(sample.file)
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
        age = None
        if ages:
            mean = round(float(np.mean(ages)), 1)
            age = {"mean": mean, "min": min(ages), "max": max(ages)}
        result[split] = SplitBalance(
            patients=len(people),
            images=len(rows),
            pathology=_counts(sample.pathology for sample in people),
            sex=_counts(sample.sex for sample in people),
            age=age,
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
    means = {split: part.age["mean"] for split, part in parts.items() if part.age is not None}
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


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """An image boiled down: a digest of its pixels, and 24 x 24 means of zero mean and length 1.

    A constant image has all-zero means and resembles nothing.
    """

    digest: str
    means: NDArray[np.float32]


def thumbnail(image: NDArray[np.float32]) -> Thumbnail:
    """Boil an image [Y, X] down; the means ignore scale and shift of the grey values."""
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    blocks = image.astype(np.float64)
    for axis in (0, 1):
        edges = np.linspace(0, image.shape[axis], min(_EDGE, image.shape[axis]) + 1)[:-1]
        starts = np.floor(edges).astype(np.intp)
        sizes = np.diff([*starts, image.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        blocks = np.add.reduceat(blocks, starts, axis=axis) / sizes.reshape(shape)
    means = np.zeros(_EDGE * _EDGE)
    means[: blocks.size] = (blocks - blocks.mean()).ravel()
    length = float(np.linalg.norm(means))
    if length < 1e-9:
        means[:] = 0
    else:
        means /= length
    return Thumbnail(digest, means.astype(np.float32))


def repeated(samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]) -> list[Issue]:
    """Equal images anywhere, and nearly equal images of two different patients.

    Neighbouring slices and phases of one patient resemble each other and are not compared. A
    repetition across splits is an error, within one split a warning.
    """
    known = [sample for sample in samples if sample.file in thumbnails]
    if not known:
        return []
    issues = _exact(known, thumbnails)
    near = _near_pairs(known, thumbnails)
    for across in (True, False):
        pairs = [(a, b) for a, b in near if (a.split != b.split) == across]
        if pairs:
            named = "; ".join(f"{a.file} and {b.file}" for a, b in pairs[:5])
            where = "in two splits" if across else "in one split"
            issues.append(
                Issue(
                    "near-duplicates",
                    "error" if across else "warning",
                    f"{len(pairs)} pair(s) of nearly equal pictures of two patients {where}: "
                    f"{named}",
                )
            )
    return issues


def _exact(samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]) -> list[Issue]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(thumbnails[sample.file].digest, []).append(sample)
    issues = []
    for group in groups.values():
        if len(group) < 2:
            continue
        people = len({sample.patient_id for sample in group})
        across = len({sample.split for sample in group}) > 1
        files = ", ".join(sample.file for sample in group[:5])
        issues.append(
            Issue(
                "same-pixels-two-patients" if people > 1 else "same-pixels",
                "error" if across else "warning",
                f"{len(group)} pictures of {people} patient(s) have the same pixels: {files}",
            )
        )
    return issues


def _near_pairs(
    samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]
) -> list[tuple[Sample, Sample]]:
    means = np.stack([thumbnails[sample.file].means for sample in samples])
    pairs = []
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        likeness = means[start : start + _ROWS_AT_ONCE] @ means.T
        for row, column in np.argwhere(likeness > NEAR_CORRELATION):
            first, second = samples[start + int(row)], samples[int(column)]
            exact = thumbnails[first.file].digest == thumbnails[second.file].digest
            if start + row < column and first.patient_id != second.patient_id and not exact:
                pairs.append((first, second))
    return pairs
