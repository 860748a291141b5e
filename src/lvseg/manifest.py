"""Manifest of a data set folder: samples, facts about the data set, splits by patient, leaks.

A data set folder holds ``images/*.png``, ``masks/*.png``, ``manifest.csv`` with at least the
columns ``file, patient_id, split``, and ``dataset.json`` (:class:`DatasetFacts`). Splits are by
patient, because slices of one heart resemble each other: an image of a training patient among the
test images makes every score too good.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from lvseg.atomic import write_text
from lvseg.bounds import MOST_JSON_BYTES, open_regular, read_bytes, read_json_object
from lvseg.errors import DatasetError, PatientLeakError, UsageError
from lvseg.issues import Issue
from lvseg.labels import Label

MANIFEST = "manifest.csv"
DATASET = "dataset.json"
#: What a data set does not say of itself.
UNKNOWN = "unknown"
#: Column of an augmented image: file name of the image it was made of; blank for all others.
ORIGINAL = "original"
#: Column of the structures that a mask shows or knows to be absent (``cavity+myocardium``); blank
#: where that is every structure that is known.
LABELS_COLUMN = "labels"
#: A split expression that selects every sample.
ALL = "all"


def _stays_inside(value: str) -> str:
    parts = value.replace("\\", "/").split("/")
    if value.startswith(("/", "\\")) or ":" in parts[0] or {"", ".", ".."} & set(parts):
        raise ValueError("must be a file name below the images folder")
    return value


def _one_name(value: str) -> str:
    if "+" in value or value.lower() == ALL:
        raise ValueError("must be one name, without '+' and not 'all'")
    return value


_Text = Annotated[str, Field(min_length=1)]
_Spacing = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its mask: a row of the manifest, whose cells :func:`parse_manifest` checks.

    :param file: name below ``images`` and ``masks``.
    :param phase: "ED" or "ES" where known. :param slice_index: order along the heart, from 0;
        either end may be the base.
    :param age: years. :param extra: columns we do not interpret, as (name, text), kept as they are.
    """

    file: Annotated[_Text, AfterValidator(_stays_inside)]
    patient_id: _Text
    split: Annotated[_Text, AfterValidator(_one_name)]
    phase: str | None = None
    slice_index: Annotated[int, Field(ge=0)] | None = None
    pathology: str | None = None
    sex: str | None = None
    age: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    pixel_spacing_mm: _Spacing | None = None
    slice_spacing_mm: _Spacing | None = None
    extra: tuple[tuple[str, str], ...] = ()


def _blank_is_unknown(value: object) -> object:
    return UNKNOWN if value is None or (isinstance(value, str) and not value.strip()) else value


Fact = Annotated[str, BeforeValidator(_blank_is_unknown)]


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What a data set says of itself (``dataset.json``); what it does not say is "unknown".

    :param licence: as SPDX writes it where it has a name, e.g. ``CC0-1.0``.
    :param centre: where the images were acquired.
    :param limits: one sentence each: what the data do not cover, and known errors of the masks.
    :param outline_rule: how a contour became a mask, that is whether its line belongs to it.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: Fact = UNKNOWN
    licence: Fact = UNKNOWN
    citation: Fact = UNKNOWN
    centre: Fact = UNKNOWN
    limits: tuple[str, ...] = ()
    outline_rule: Fact = UNKNOWN

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the facts that are not stated, in the order of the fields."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return tuple(name for name, value in values if value in (UNKNOWN, ()))

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON has them."""
        return {**asdict(self), "limits": list(self.limits)}

    @classmethod
    def from_dict(cls, values: object, *, where: str = DATASET) -> DatasetFacts:
        """Facts out of a JSON object; absent, null or blank = unknown.

        :param where: begins the message of an error.
        :raises DatasetError: not an object, a key that no fact has, or a value of another type.
        """
        try:
            return _FACTS.validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DatasetError(
                f"{where}{', key ' + key if key else ''}: {first['msg']}: expected an object with "
                f"any of {', '.join(each.name for each in fields(cls))}; limits is a list of "
                "sentences, the others are text"
            ) from error


_FACTS = TypeAdapter(DatasetFacts)


def read_dataset_facts(folder: Path) -> DatasetFacts:
    """Facts of a data set folder; a folder without ``dataset.json`` leaves all of them unknown.

    :raises DatasetError: the file cannot be read, is not JSON, or states something else.
    """
    path = Path(folder) / DATASET
    try:
        values = read_json_object(path)
    except FileNotFoundError:
        return DatasetFacts()
    except (OSError, ValueError) as error:
        raise DatasetError(f"expected a JSON object in {path}, found none: {error}") from error
    return DatasetFacts.from_dict(values, where=str(path))


def write_dataset_facts(facts: DatasetFacts, folder: Path) -> Path:
    """Write ``dataset.json`` into a data set folder, whole or not at all; returns its path."""
    text = json.dumps(facts.to_dict(), indent=1, ensure_ascii=False)
    return write_text(Path(folder) / DATASET, text + "\n")


_REQUIRED = ("file", "patient_id", "split")
_COLUMNS = tuple(field.name for field in fields(Sample) if field.name != "extra")


_SAMPLE = TypeAdapter(Sample)


def _parse_row(row: Mapping[str | None, object], line: int, where: str) -> Sample:
    if None in row or None in row.values():
        raise DatasetError(
            f"{where}, line {line}: expected as many cells as the header has, found "
            f"{'more' if None in row else 'fewer'}: quote cells that contain a comma"
        )
    cells = {str(name): str(value).strip() for name, value in row.items()}
    known = {name: cells[name] for name in _COLUMNS if name in _REQUIRED or cells.get(name)}
    extra = tuple((name, value) for name, value in cells.items() if name not in _COLUMNS)
    try:
        return _SAMPLE.validate_python({**known, "extra": extra})
    except ValidationError as error:
        first = error.errors()[0]
        column = str(first["loc"][0])
        raise DatasetError(
            f"{where}, line {line}, column {column}: {first['msg']}, found "
            f"'{known.get(column, '')}': correct the manifest"
        ) from error


def parse_manifest(text: str, *, where: str = MANIFEST) -> tuple[Sample, ...]:
    """Samples of a manifest given as CSV text, in the order of its lines; leaks are not looked for.

    Column order is free, blank optional cells are None, columns we do not know are kept in
    ``extra``.

    :raises DatasetError: a missing column, a wrong cell (with its line), a file named twice, or no
        row at all.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    samples: list[Sample] = []
    lines: dict[str, int] = {}
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in _REQUIRED if name not in header]
        if missing or len(set(header)) != len(header):
            raise DatasetError(
                f"{where}, line 1: expected the columns {', '.join(_REQUIRED)}, each once, found "
                f"{', '.join(header) or 'nothing'}: make the data set with  lvseg prepare"
            )
        reader.fieldnames = header
        for row in reader:
            sample = _parse_row(row, reader.line_num, where)
            if sample.file in lines:
                raise DatasetError(
                    f"{where}, line {reader.line_num}: expected each file once, found "
                    f"'{sample.file}' also in line {lines[sample.file]}"
                )
            lines[sample.file] = reader.line_num
            samples.append(sample)
    except csv.Error as error:
        raise DatasetError(
            f"{where}, after line {reader.line_num}: not valid CSV: {error}"
        ) from error
    if not samples:
        raise DatasetError(
            f"{where}: expected at least one sample (row) below the header, found none"
        )
    return tuple(samples)


def read_manifest(folder: Path, *, allow_leaks: bool = False) -> tuple[Sample, ...]:
    """Samples of a data set folder, in the order of its manifest.

    :param allow_leaks: True for an audit that reports leaks itself.
    :raises DatasetError: no readable manifest, or a faulty one (with the line).
    :raises PatientLeakError: a patient in more than one split.
    """
    path = folder / MANIFEST
    try:
        text = read_bytes(path, MOST_JSON_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DatasetError(
            f"expected a data set folder with {MANIFEST}, found none that can be read at {path} "
            f"({reason}): make one with  lvseg prepare"
        ) from error
    samples = parse_manifest(text, where=str(path))
    leaking = _leaking_patients(samples)
    if leaking and not allow_leaks:
        raise PatientLeakError(leaking, str(path))
    return samples


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def manifest_text(samples: Sequence[Sample]) -> str:
    """CSV text of a manifest: required columns, those that any sample fills, extra ones."""
    used = [
        name
        for name in _COLUMNS
        if name in _REQUIRED or any(getattr(sample, name) is not None for sample in samples)
    ]
    extra = list(dict.fromkeys(name for sample in samples for name, _ in sample.extra))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*used, *extra])
    for sample in samples:
        more = dict(sample.extra)
        known = [_cell(getattr(sample, name)) for name in used]
        writer.writerow([*known, *(more.get(name, "") for name in extra)])
    return out.getvalue()


def write_manifest(samples: Sequence[Sample], folder: Path) -> Path:
    """Write ``manifest.csv`` into a folder, whole or not at all; returns its path.

    :raises PatientLeakError: a patient in more than one split; nothing is written then.
    """
    leaking = _leaking_patients(samples)
    path = folder / MANIFEST
    if leaking:
        raise PatientLeakError(leaking, str(path))
    return write_text(path, manifest_text(samples))


def image_path(folder: Path, sample: Sample) -> Path:
    """Image of a sample."""
    return folder / "images" / sample.file


def mask_path(folder: Path, sample: Sample) -> Path:
    """Mask of a sample."""
    return folder / "masks" / sample.file


def patients(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Distinct patients, sorted."""
    return tuple(sorted({sample.patient_id for sample in samples}))


def select(samples: Sequence[Sample], expression: str) -> tuple[Sample, ...]:
    """Samples of the splits named, e.g. ``training+validation``; ``all`` selects every sample.

    :raises UsageError: a name that no sample has.
    """
    if expression.strip().lower() == ALL:
        return tuple(samples)
    wanted = [name.strip() for name in expression.split("+")]
    present = sorted({sample.split for sample in samples})
    unknown = [name for name in wanted if name not in present]
    if unknown:
        raise UsageError(
            f"expected a split out of {', '.join(present)} (joined by '+', or 'all'), found "
            f"'{unknown[0]}' in '{expression}'"
        )
    return tuple(sample for sample in samples if sample.split in wanted)


def unaugmented(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Samples that are no augmented copy (column :data:`ORIGINAL`), in their order."""
    return tuple(sample for sample in samples if not dict(sample.extra).get(ORIGINAL))


def labelled(sample: Sample, label: Label) -> bool:
    """Whether the mask of a sample says where a structure is, even if that is nowhere."""
    stated = dict(sample.extra).get(LABELS_COLUMN)
    return not stated or label.word in stated.split("+")


def _assignment(
    samples: Sequence[Sample], fractions: Mapping[str, float], seed: int, stratify: bool
) -> dict[str, str]:
    """Deal shuffled patients, stratum after stratum, to the split furthest below its share."""
    stratum: dict[str, str] = {}
    for sample in samples:
        pathology = (sample.pathology or "") if stratify else ""
        stratum[sample.patient_id] = stratum.get(sample.patient_id) or pathology
    generator = np.random.default_rng(seed)
    order: list[str] = []
    for name in sorted(set(stratum.values())):
        members = sorted(patient for patient, own in stratum.items() if own == name)
        order += [members[int(i)] for i in generator.permutation(len(members))]
    total = sum(fractions.values())
    dealt = dict.fromkeys(fractions, 0)
    result: dict[str, str] = {}
    for count, patient in enumerate(order, start=1):
        share = {name: fractions[name] / total * count - dealt[name] for name in fractions}
        chosen = max(share, key=lambda name: round(share[name], 9))
        dealt[chosen] += 1
        result[patient] = chosen
    return result


def split_by_patient(
    samples: Sequence[Sample],
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: bool = True,
) -> tuple[Sample, ...]:
    """Give each patient one split, at random but the same for the same patients and seed.

    :param fractions: split name -> its share of the patients; shares need not sum to 1.
    :param stratify: spread each pathology over the splits in these proportions.
    :raises UsageError: no split, or a share that is not positive.

    Old split names are replaced; the order of samples is kept. No sample: no sample.
    """
    if not fractions or not all(share > 0 for share in fractions.values()):
        raise UsageError(f"expected split names with positive shares, found {dict(fractions)}")
    chosen = _assignment(samples, fractions, seed, stratify)
    return tuple(replace(sample, split=chosen[sample.patient_id]) for sample in samples)


def folds(
    samples: Sequence[Sample], k: int, *, seed: int = 0, stratify: bool = True
) -> tuple[tuple[Sample, ...], ...]:
    """Cut the patients into ``k`` held-out sets for cross-validation, balanced by pathology.

    The samples of set number i carry the split ``fold<i>``, from ``fold1``; train on the others.

    :raises UsageError: fewer than two folds, or more folds than patients.
    """
    if not 2 <= k <= len(patients(samples)):
        raise UsageError(
            f"expected 2 to {len(patients(samples))} folds (one patient each at most), found {k}"
        )
    names = [f"fold{number}" for number in range(1, k + 1)]
    dealt = split_by_patient(samples, dict.fromkeys(names, 1.0), seed=seed, stratify=stratify)
    return tuple(tuple(sample for sample in dealt if sample.split == name) for name in names)


def image_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file, as hexadecimal text.

    :raises DatasetError: the file cannot be read.
    """
    try:
        with open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(
            f"expected a readable image at {path}, found {error.strerror or 'none'}: "
            "add the file or remove its line from the manifest"
        ) from error


def image_hashes(folder: Path, samples: Sequence[Sample]) -> dict[str, str]:
    """SHA-256 of each sample's image: ``file`` -> hexadecimal text."""
    return {sample.file: image_sha256(image_path(folder, sample)) for sample in samples}


def _leaking_patients(samples: Iterable[Sample]) -> tuple[str, ...]:
    splits: dict[str, set[str]] = {}
    for sample in samples:
        splits.setdefault(sample.patient_id, set()).add(sample.split)
    return tuple(sorted(patient for patient, names in splits.items() if len(names) > 1))


def check_leaks(
    samples: Sequence[Sample], hashes: Mapping[str, str] | None = None
) -> tuple[Issue, ...]:
    """Everything that stands on both sides of a split.

    :param hashes: ``file`` -> SHA-256 of the image (:func:`image_hashes`); None = look at the
        patient numbers only. Equal images in two splits are a leak even under two numbers.

    No leak: no issue.
    """
    issues = [
        Issue(
            "patient-in-two-splits",
            "error",
            f"patient {patient} stands in "
            f"{', '.join(sorted({each.split for each in samples if each.patient_id == patient}))}",
        )
        for patient in _leaking_patients(samples)
    ]
    same: dict[str, list[Sample]] = {}
    for sample in samples:
        if hashes is not None and sample.file in hashes:
            same.setdefault(hashes[sample.file], []).append(sample)
    for group in same.values():
        if len({sample.split for sample in group}) > 1:
            named = ", ".join(f"{sample.file} ({sample.split})" for sample in group)
            issues.append(
                Issue("image-in-two-splits", "error", f"the same picture is in two splits: {named}")
            )
    return tuple(issues)
