"""Data set folder of the Sunnybrook cardiac set, from its PNG pairs or its official layout.

Its facts are those of the distribution (Radau et al., The MIDAS Journal 2009; Cardiac Atlas
Project). Each patient has a name in the contour files (``SC-HF-I-01``) and one in the DICOM files
(``SCD0000101``).

The PNG pairs come with a manifest. The official layout is DICOM folders (``SCD0000101`` or
``SC-HF-I-01``, any nesting) and folders of contour files (``SC-HF-I-01/.../IM-0001-0048-icontour-
manual.txt``, any nesting); pairs are found by patient and image number.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.contours import area_px, fill
from lvseg.datasets.contours import (
    ImageIndex,
    PhaseName,
    contour_files,
    empty_frames,
    endocardial_contours,
    index_images,
    label_phases,
    read_contour,
)
from lvseg.datasets.folder import ImagePair, PrepareReport, Progress, write_dataset
from lvseg.errors import DatasetError, UsageError
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.manifest import LABELS_COLUMN, DatasetFacts, Sample, parse_manifest
from lvseg.outlines import Outline, recover_outline
from lvseg.read import read_mask, read_picture
from lvseg.read.dicom import read_dicom_frame

Row = dict[str, str]

#: The public PNG pairs.
PAIRS = DatasetFacts(
    name="Sunnybrook Cardiac Data",
    licence="CC0-1.0",
    citation="Radau P, Lu Y, Connelly K, Paul G, Dick AJ, Wright GA. Evaluation Framework for "
    "Algorithms Segmenting Short Axis Cardiac MRI. The MIDAS Journal, 2009.",
    centre="Sunnybrook Health Sciences Centre, Toronto",
    limits=(
        "One centre's scanner and one expert's endocardial contours at end-diastole and "
        "end-systole.",
        "Reference masks include the contour line, about half a pixel on each side, so areas come "
        "out slightly large.",
        "Frames without a cavity (above the base, below the apex) come from few patients.",
        "No late enhancement, black blood, long-axis views, children or congenital disease.",
    ),
    outline_rule="polygon filled with its outline, coordinates cut to whole pixels "
    "(OpenCV fillPoly)",
)
#: Masks made here from the experts' polygons: the line is not part of them.
OUTLINED = replace(
    PAIRS,
    limits=(
        *(limit for limit in PAIRS.limits if "contour line" not in limit),
        "Epicardial contours exist at end-diastole only.",
    ),
    outline_rule="pixel inside where at least half of it lies in the expert's polygon, which was "
    "recovered from the distributed mask where its contour file is not public",
)


class Repair(NamedTuple):
    """Contours of a patient that belong to another placement, and the move that mends them.

    :param columns_px, rows_px: the move in slice 0 of the patient;
        :param columns_px_per_slice, rows_px_per_slice: how it changes from slice to slice.
    """

    columns_px: int
    rows_px: int
    columns_px_per_slice: int
    rows_px_per_slice: int
    evidence: str

    def step(self, slice_index: int) -> tuple[int, int]:
        """The move of a slice (columns, rows) in pixels."""
        return (
            self.columns_px + self.columns_px_per_slice * slice_index,
            self.rows_px + self.rows_px_per_slice * slice_index,
        )


#: What is moved before anything is learnt from it; ``as_distributed`` leaves it alone.
REPAIRS: Mapping[str, Repair] = MappingProxyType(
    {
        "SC-N-06": Repair(
            14,
            15,
            -1,
            -3,
            "all 13 slices of both kinds of contour lie beside the heart, by a distance that "
            "changes evenly from slice to slice, as contours of a stack of another tilt would; "
            "networks that had not seen the patient agree with them at a mean Dice of 0.80 so "
            "moved, 0.68 if all are moved alike, by (12, 1)",
        )
    }
)

_SPELLING = re.compile(r"^SC-(HF-NI|HF-I|HYP|N)-(\d{1,2})$", re.IGNORECASE)


class SunnybrookPatient(NamedTuple):
    """Name in the DICOM files, and official set."""

    scd_id: str
    official_set: str


def canonical_id(name: str) -> str | None:
    """The patient id with two digits, or None for anything else.

    >>> canonical_id("SC-HF-I-1")
    'SC-HF-I-01'
    """
    match = _SPELLING.match(name.strip())
    return f"SC-{match.group(1).upper()}-{int(match.group(2)):02d}" if match else None


#: Official set -> its patients.
_SETS = {
    "training": "SC-HF-I-01 SC-HF-I-02 SC-HF-I-04 SC-HF-I-40 SC-HF-NI-03 SC-HF-NI-04 SC-HF-NI-34 "
    "SC-HF-NI-36 SC-HYP-01 SC-HYP-03 SC-HYP-38 SC-HYP-40 SC-N-02 SC-N-03 SC-N-40",
    "validation": "SC-HF-I-05 SC-HF-I-06 SC-HF-I-07 SC-HF-I-08 SC-HF-NI-07 SC-HF-NI-11 SC-HF-NI-31 "
    "SC-HF-NI-33 SC-HYP-06 SC-HYP-07 SC-HYP-08 SC-HYP-37 SC-N-05 SC-N-06 SC-N-07",
    "online": "SC-HF-I-09 SC-HF-I-10 SC-HF-I-11 SC-HF-I-12 SC-HF-NI-12 SC-HF-NI-13 SC-HF-NI-14 "
    "SC-HF-NI-15 SC-HYP-09 SC-HYP-10 SC-HYP-11 SC-HYP-12 SC-N-09 SC-N-10 SC-N-11",
}
_SET_OF = {patient: name for name, listed in _SETS.items() for patient in listed.split()}
#: The DICOM files number the patients in the order of their names.
PATIENTS = MappingProxyType(
    {
        patient: SunnybrookPatient(f"SCD{number:05d}01", _SET_OF[patient])
        for number, patient in enumerate(sorted(_SET_OF), start=1)
    }
)


def to_8_bit(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale an image [Y, X] to 0..255 by its own minimum and maximum, halves rounded down.

    This is the rule behind the public PNG pairs: it gives them back exactly, all 56 whose DICOM
    images are at hand. A constant image becomes 0.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if high <= low:
        return np.zeros(pixels.shape, np.uint8)
    scaled = (pixels.astype(np.float64) - low) * 255 / (high - low)
    result: NDArray[np.uint8] = np.ceil(scaled - 0.5).astype(np.uint8)
    return result


def prepare_sunnybrook(
    source: Path,
    dataset: Path,
    *,
    dicom: Path | None = None,
    negatives: bool = True,
    as_distributed: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a data set folder of the Sunnybrook set, split as the official sets.

    Masks hold cavity and, at end-diastole, myocardium, filled from the experts' polygons: those of
    their contour files where there are any, else recovered from the public masks
    (:func:`lvseg.outlines.recover_outline`), moved where :data:`REPAIRS` says so. The polygons
    stand beside the masks, in ``outlines``.

    Extra columns: ``scd_id``, ``image_number``, and where empty frames are added ``empty`` (1 =
    the experts left this frame without a contour) and ``distance_from_contoured`` (slices).
    Images of the PNG pairs are copied byte for byte. Column ``labels`` says which structures a
    mask shows.

    :param source: the PNG pairs (``manifest.csv``, ``images``, ``masks``) or the official layout.
    :param dicom: DICOM folders by patient; for the official layout default ``source``. For the
        PNG pairs they supply the spacings and the empty frames.
    :param as_distributed: of the PNG pairs: the public masks of the cavity, byte for byte.
    :param negatives: add the frames at ED and ES without a contour of patients whose DICOM images
        are there, with empty masks.
    :raises DatasetError: neither layout, or parts that do not fit together.
    :raises UsageError: the data set folder exists.
    """
    source = Path(source)
    if not source.is_dir():
        raise DatasetError(f"expected a folder with the Sunnybrook set, found none at {source}")
    if all((source / name).is_dir() for name in ("images", "masks")):
        pairs, issues = _from_pairs(source, dicom, negatives)
        layout, facts = "png-pairs", PAIRS if as_distributed else OUTLINED
        if not as_distributed:
            pairs = _outlined(source, pairs)
    else:
        if as_distributed:
            raise UsageError(
                "the official layout holds contours and no masks to keep: leave out as-distributed"
            )
        pairs, issues = _from_official(source, dicom or source, negatives)
        layout, facts = "official", OUTLINED
    return write_dataset(
        dataset,
        pairs,
        layout=layout,
        facts=facts,
        issues=tuple(issues),
        overwrite=overwrite,
        progress=progress,
    )


def _read_table(path: Path, needed: Iterable[str]) -> list[Row]:
    try:
        text = io.StringIO(read_bytes(path, MOST_JSON_BYTES).decode("utf-8-sig"), newline="")
        rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(text)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"expected a readable table, found none at {path}") from error
    missing = sorted(set(needed) - set(rows[0] if rows else ()))
    if missing:
        raise DatasetError(f"expected the column(s) {', '.join(missing)} in {path}, found none")
    return rows


def _with_spacings(sample: Sample, index: ImageIndex) -> Sample:
    """Spacings of a stack; pixels that are not square leave theirs unknown."""
    rows_mm, columns_mm = index.planes[0].pixel_spacing_mm
    slices_mm = index.slice_spacing_mm
    return replace(
        sample,
        pixel_spacing_mm=rows_mm if rows_mm == columns_mm else None,
        slice_spacing_mm=None if slices_mm is None else round(slices_mm, 2),
    )


def _sample_of(sample: Sample, file: str, name: PhaseName, number: int, slice_index: int) -> Sample:
    """The sample of one image of a patient."""
    scd_id = dict(sample.extra).get("scd_id", "")
    return replace(
        sample,
        file=file,
        phase=name,
        slice_index=slice_index,
        extra=(("scd_id", scd_id), ("image_number", str(number))),
    )


def _patient_folders(root: Path) -> dict[str, Path]:
    """Patient id or SCD id -> the outermost folder of that name that holds ``*.dcm`` files."""
    if not root.is_dir():
        raise DatasetError(f"expected a folder with DICOM images, found none at {root}")
    found: dict[str, Path] = {}
    parents = {path.parent for path in root.rglob("*.dcm")}
    for parent in sorted(parents):
        for folder in reversed([parent, *parent.parents]):
            if folder != root and root not in folder.parents:
                continue
            key = canonical_id(folder.name) or folder.name.upper()
            other = found.setdefault(key, folder)
            known = key in PATIENTS or key.startswith("SCD")
            if known and other != folder and other not in folder.parents:
                raise DatasetError(
                    f"expected one DICOM folder a patient, found two for {key} in {root}: "
                    "leave one of them"
                )
    return found


def _empty_pairs(
    index: ImageIndex, contoured: Mapping[int, PhaseName], patient: Sample, stem: str
) -> list[ImagePair]:
    pairs = []
    for frame in empty_frames(index, contoured):
        image = to_8_bit(read_dicom_frame(index.files[frame.image_number])[0])
        number, distance = frame.image_number, frame.distance_from_contoured
        sample = _sample_of(patient, f"{stem}-{number:04d}.png", frame.name, number, frame.slice)
        extra = (("empty", "1"), ("distance_from_contoured", str(distance)))
        sample = replace(sample, extra=sample.extra + extra)
        pairs.append(ImagePair(sample, image, np.zeros(image.shape, np.uint8)))
    return pairs


def _from_pairs(
    source: Path, dicom: Path | None, negatives: bool
) -> tuple[list[ImagePair], list[Issue]]:
    needed = ("file", "patient_id", "official_set", "image_number", "slice_index", "phase")
    rows = _read_table(source / "manifest.csv", needed)
    samples = _samples(rows, source / "manifest.csv")
    listed = {sample.file for sample in samples}
    for kind in ("images", "masks"):
        absent = sorted(listed - {path.name for path in (source / kind).iterdir()})
        if absent:
            raise DatasetError(
                f"expected every file of manifest.csv in {source / kind}, found {len(absent)} "
                f"missing, first {absent[0]}: fetch the set again"
            )
    issues = []
    unlisted = sorted({path.name for path in (source / "images").glob("*.png")} - listed)
    if unlisted:
        issues.append(
            Issue("unlisted-images", "warning", f"{len(unlisted)} image(s) not in manifest.csv")
        )
    folders = _patient_folders(dicom) if dicom is not None else {}
    pairs: list[ImagePair] = []
    for patient in sorted({sample.patient_id for sample in samples}):
        own = [sample for sample in samples if sample.patient_id == patient]
        folder = folders.get(dict(own[0].extra).get("scd_id", "").upper()) or folders.get(patient)
        pairs += _patient_pairs(source, own, folder, negatives)
    if dicom is not None and not any(pair.sample.slice_spacing_mm for pair in pairs):
        raise DatasetError(
            f"expected DICOM folders of these patients (SCD0000101 ...), found none in {dicom}"
        )
    return pairs, issues


def _samples(rows: list[Row], path: Path) -> tuple[Sample, ...]:
    """The rows of the source's manifest with ``official_set`` as the split."""
    out = io.StringIO(newline="")
    keys = [key for key in rows[0] if key not in ("official_set", "split")]
    writer = csv.DictWriter(out, [*keys, "split"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row | {"split": row["official_set"]} for row in rows)
    return parse_manifest(out.getvalue(), where=str(path))


def _patient_pairs(
    source: Path, samples: list[Sample], folder: Path | None, negatives: bool
) -> list[ImagePair]:
    """The pairs of one patient, and the empty frames where the DICOM folder is known."""
    contoured: dict[int, PhaseName] = {
        int(dict(sample.extra)["image_number"]): "ED" if sample.phase == "ED" else "ES"
        for sample in samples
    }
    index = index_images(folder, contoured) if folder is not None else None
    if index is not None:
        samples = [_with_spacings(sample, index) for sample in samples]
    pairs = [
        ImagePair(sample, source / "images" / sample.file, source / "masks" / sample.file)
        for sample in samples
    ]
    if index is not None and negatives:
        stem = samples[0].file.rpartition("-")[0]
        pairs += _empty_pairs(index, contoured, samples[0], stem)
    return pairs


def _outlined(source: Path, pairs: list[ImagePair]) -> list[ImagePair]:
    """The PNG pairs with masks made from the experts' polygons, repaired where that is known."""
    result = []
    for pair in pairs:
        sample = pair.sample
        masks = {Label.LV_CAVITY: source / "masks" / sample.file}
        if ("empty", "1") in sample.extra:
            result.append(_with_outlines(pair, (), {}))
            continue
        epicardial = source / "epi_masks" / sample.file
        if epicardial.is_file():
            masks[Label.LV_MYOCARDIUM] = epicardial
        number = int(dict(sample.extra)["image_number"])
        files = {
            label: contour_files(source / "contours" / sample.patient_id, label) for label in masks
        }
        outlines = []
        for label, mask in masks.items():
            drawn = files[label].get(number)
            if drawn is not None:
                outlines.append(Outline(label, read_contour(drawn), "contour file"))
            else:
                inside = read_mask(mask).of(Label.LV_CAVITY)[0, 0]
                outlines.append(Outline(label, recover_outline(inside), "recovered from the mask"))
        result.append(_with_outlines(pair, tuple(outlines), REPAIRS))
    return result


def _with_outlines(
    pair: ImagePair, outlines: tuple[Outline, ...], repairs: Mapping[str, Repair]
) -> ImagePair:
    """A pair whose mask is filled from outlines, moved as the repair of its patient says."""
    sample, repair = pair.sample, repairs.get(pair.sample.patient_id)
    if repair is not None and sample.slice_index is not None:
        columns, rows = repair.step(sample.slice_index)
        step = np.array([columns, rows])
        outlines = tuple(replace(each, points=each.points + step) for each in outlines)
        said = f"contours moved by {columns} columns and {rows} rows"
        sample = replace(sample, extra=(*sample.extra, ("repair", said)))
    shape = read_picture(pair.image).shape if isinstance(pair.image, Path) else pair.image.shape
    mask = np.zeros((shape[0], shape[1]), np.uint8)
    for outline in reversed(outlines):  # the innermost last
        mask[fill(outline.points, (shape[0], shape[1])) > 0] = outline.label
    known = [Label.LV_CAVITY, *(each.label for each in outlines[1:])]
    words = "+".join(label.word for label in known)
    sample = replace(sample, extra=(*sample.extra, (LABELS_COLUMN, words)))
    return ImagePair(sample, pair.image, mask, outlines)


def _people(source: Path) -> dict[str, Row]:
    """Patient id -> scd_id, pathology, sex, age, from a table in the source; else from our own."""
    people = {patient: {"scd_id": facts.scd_id} for patient, facts in PATIENTS.items()}
    tables = sorted(source.rglob("scd_patientdata.csv"))
    if tables:
        for row in _read_table(tables[0], ("PatientID", "OriginalID")):
            patient = canonical_id(row["OriginalID"])
            if patient is not None:
                people[patient] = {
                    "scd_id": row["PatientID"].upper(),
                    "pathology": row.get("Pathology", ""),
                    "sex": row.get("Gender", ""),
                    "age": row.get("Age", ""),
                }
    elif (source / "manifest.csv").is_file():
        keys = ("scd_id", "pathology", "sex", "age")
        for row in _read_table(source / "manifest.csv", ("patient_id", "scd_id")):
            people[row["patient_id"]] = {key: row.get(key, "") for key in keys}
    return people


def _contour_folders(source: Path) -> dict[str, Path]:
    """Patient id -> the outermost folder named after the patient that holds contour files."""
    found: dict[str, Path] = {}
    for path in sorted(source.rglob("*-icontour-manual.txt")):
        named = [(canonical_id(folder.name), folder) for folder in path.parents]
        named = [(name, folder) for name, folder in named if name and folder != source.parent]
        if named:
            patient, folder = named[-1]
            assert patient is not None  # noqa: S101 - filtered above
            if found.setdefault(patient, folder) != folder:
                raise DatasetError(
                    f"expected one folder of contours a patient, found two for {patient}: "
                    "leave one of them"
                )
    if not found:
        raise DatasetError(
            f"expected the Sunnybrook set (images, masks and manifest.csv, or DICOM folders with "
            f"contour files IM-0001-NNNN-icontour-manual.txt), found neither in {source}"
        )
    return found


def _from_official(
    source: Path, dicom: Path, negatives: bool
) -> tuple[list[ImagePair], list[Issue]]:
    contours = _contour_folders(source)
    strangers = sorted(set(contours) - set(PATIENTS))
    if strangers:
        raise DatasetError(
            f"expected patients of the three official sets, found {', '.join(strangers)}: "
            "remove their folders"
        )
    people, folders = _people(source), _patient_folders(dicom)
    pairs: list[ImagePair] = []
    absent = []
    for patient, folder in contours.items():
        person = people[patient]
        images = folders.get(patient) or folders.get(person["scd_id"])
        if images is None:
            absent.append(patient)
            continue
        pairs += _patient_official(patient, person, folder, images, negatives)
    if not pairs:
        raise DatasetError(
            f"expected DICOM folders named after the patients ({absent[0]} or "
            f"{people[absent[0]]['scd_id']}), found none in {dicom}"
        )
    issues = []
    if absent:
        issues.append(
            Issue(
                "no-dicom",
                "warning",
                f"{len(absent)} patient(s) have contours but no DICOM images and were left out: "
                + ", ".join(absent),
            )
        )
    return pairs, issues


def _person_sample(patient: str, person: Row) -> Sample:
    """What is known of a patient; the file is filled in later."""
    age = person.get("age", "")
    return Sample(
        file="",
        patient_id=patient,
        split=PATIENTS[patient].official_set,
        pathology=person.get("pathology") or None,
        sex=person.get("sex") or None,
        age=float(age) if age.replace(".", "", 1).isdigit() else None,
        extra=(("scd_id", person["scd_id"]),),
    )


def _patient_official(
    patient: str, person: Row, contours: Path, dicom: Path, negatives: bool
) -> list[ImagePair]:
    files = endocardial_contours(contours)
    index = index_images(dicom, files)
    polygons = {number: read_contour(path) for number, path in files.items()}
    areas = {number: area_px(polygon) for number, polygon in polygons.items()}
    names = label_phases(areas, index.place)
    common = _with_spacings(_person_sample(patient, person), index)
    epicardial = contour_files(contours, Label.LV_MYOCARDIUM)
    pairs = []
    for number, polygon in polygons.items():
        image = to_8_bit(read_dicom_frame(index.files[number])[0])
        file = f"{patient}-IM-0001-{number:04d}.png"
        sample = _sample_of(common, file, names[number], number, index.place[number][0])
        outlines = [Outline(Label.LV_CAVITY, polygon, "contour file")]
        if number in epicardial:
            outer = read_contour(epicardial[number])
            outlines.append(Outline(Label.LV_MYOCARDIUM, outer, "contour file"))
        pairs.append(_with_outlines(ImagePair(sample, image, image), tuple(outlines), REPAIRS))
    if negatives:
        empty = _empty_pairs(index, names, common, f"{patient}-IM-0001")
        pairs += [_with_outlines(pair, (), {}) for pair in empty]
    return pairs
