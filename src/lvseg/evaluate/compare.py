"""Agreement of two masks, or of two folders of masks matched by file name, by any tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg import manifest
from lvseg.cine import Mask
from lvseg.errors import DatasetError, GeometryMismatchError, ReadError
from lvseg.evaluate.rows import (
    Evaluation,
    ImageRow,
    compare_slice,
    finish,
    foreground,
    without_reference,
)
from lvseg.formats import FORMATS
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.manifest import Sample
from lvseg.names import split_phase
from lvseg.read import read_mask
from lvseg.read.segmentation import is_segmentation
from lvseg.resampling import onto_grid

#: What a mask file may end in, any case; the longest first.
EXTENSIONS = (".nii.gz", ".nii", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
#: A file of this kind is a mask only if it is a DICOM Segmentation.
DICOM = ".dcm"
#: Endings of a name that say "mask" and nothing else.
MASK_WORDS = ("_mask", "_seg", "_gt")
#: Names of the masks of a study, whose folder carries its name -> what they add to that name.
STUDY_MASKS = {name: added for each in FORMATS for name, added in each.masks}
#: Images for people that ``lvseg segment`` writes beside its masks.
OVERLAYS = ("overlays", "_overlay")
#: Pixel spacings that differ by more than this share are not the same grid.
SPACING_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class _Found:
    """A mask file: its place below the folder without ending, and its last part."""

    path: Path
    key: str
    marked: bool

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]


def compare(
    reference: Path,
    prediction: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    label_values: Mapping[int, Label] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Compare two mask files, or two folders of them.

    Files of two folders belong together when their paths below the folders are equal, or else when
    their names are and each stands once. A ``_mask`` at the end of a name, the extension and
    its case do not count; ``<study>/segmentation.nii.gz`` goes by the name of its folder, and so
    does ``segmentation.dcm``, which counts where there is no NIfTI mask of that name. Where the
    reference is a data set folder, its manifest gives patient, phase and pixel spacing of a mask.

    A row is one label in one slice of one phase where either mask has it.

    :param label_values: what the values of another tool mean (:func:`lvseg.read.read_mask`); a side
        that has none of them and only labels of ours is taken as it is, which becomes an issue.
    :param progress: called with (pairs done, pairs). :param seed: of the bootstrap.
    :raises DatasetError: nothing to compare, or nothing matched.
    :raises ReadError: a file is no mask. GeometryMismatchError: grids of different shape, or at
        different places.

    Two masks that know their place are compared in patient space: the prediction is brought onto
    the grid of the reference (:func:`lvseg.resampling.onto_grid`). Else pixel by pixel.

    Files without a counterpart are issues.
    """
    issues: list[Issue] = []
    samples: dict[str, Sample] = {}
    for path in (reference, prediction):
        if not path.exists():
            raise DatasetError(f"expected a mask or a folder of masks, found nothing at {path}")
    if reference.is_dir() != prediction.is_dir():
        raise DatasetError(
            f"expected two files or two folders, found one of each: {reference} and {prediction}"
        )
    if reference.is_dir():
        pairs = _match(reference, prediction, issues)
        if (reference / manifest.MANIFEST).is_file():
            every = manifest.read_manifest(reference, allow_leaks=True)
            samples = {_strip(sample.file)[0]: sample for sample in every}
    else:
        pairs = [(_strip(reference.name)[0], reference, prediction)]
    sides = (
        _label_values([pair[1] for pair in pairs], label_values, reference, issues),
        _label_values([pair[2] for pair in pairs], label_values, prediction, issues),
    )
    rows: list[ImageRow] = []
    for done, (key, first, second) in enumerate(pairs, start=1):
        masks = (read_mask(first, label_values=sides[0]), read_mask(second, label_values=sides[1]))
        rows += _rows(key, (first, second), masks, samples.get(key), issues)
        if progress is not None:
            progress(done, len(pairs))
    images, patients = finish(rows)
    return Evaluation(images, patients, issues=(*issues, *without_reference(images)), seed=seed)


def _label_values(
    files: Sequence[Path], label_values: Mapping[int, Label] | None, side: Path, issues: list[Issue]
) -> Mapping[int, Label] | None:
    """What the values on one side mean; None where they are our own and none of those named.

    A side is judged as a whole: a slice of another tool may hold only its right ventricle.
    """
    if label_values is None or any(
        read_mask(path, label_values=label_values).labels_present for path in files
    ):
        return label_values
    try:
        ours = [path for path in files if read_mask(path).labels_present]
    except ReadError:
        return label_values
    if ours:
        text = f"{side} has none of the values of --label: its values are read as lvseg's own"
        issues.append(Issue("labels-as-they-are", "warning", text))
    return None


def _strip(name: str) -> tuple[str, bool]:
    """Name without ending and without a mask word, and whether it had such a word."""
    ending = next((end for end in EXTENSIONS if name.lower().endswith(end)), "")
    bare = name[: len(name) - len(ending)]
    word = next((word for word in MASK_WORDS if bare.lower().endswith(word)), "")
    stripped = bare[: len(bare) - len(word)]
    return (stripped, bool(word)) if stripped.rsplit("/", 1)[-1] else (bare, False)


def _masks(folder: Path, issues: list[Issue]) -> dict[str, _Found]:
    """Mask files below a folder by key; of ``x`` and ``x_mask`` the second is the mask."""
    below = folder
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        below = folder / "masks"
    found: dict[str, _Found] = {}
    for path in sorted(below.rglob("*")):
        place = path.relative_to(below).as_posix()
        if not path.name.lower().endswith(EXTENSIONS) or path.name.startswith("."):
            continue
        key, marked = _strip(place)
        if OVERLAYS[0] in place.split("/")[:-1] or key.endswith(OVERLAYS[1]) or not path.is_file():
            continue
        if _is_dicom(path) and not is_segmentation(path):
            continue
        key = _study_key(key)
        new, old = _Found(path, key, marked), found.get(key)
        found[key] = new if old is None else _better(old, new, issues)
    if not found:
        raise DatasetError(
            f"expected masks ({', '.join(EXTENSIONS)}) below {below}, found none: name the folder "
            "that holds them"
        )
    return found


def _is_dicom(path: Path) -> bool:
    return path.name.lower().endswith(DICOM)


def _study_key(key: str) -> str:
    """Masks that ``lvseg segment`` wrote go by the name of their folder.

    >>> _study_key("p05/segmentation"), _study_key("p05/segmentation_ed"), _study_key("p05")
    ('p05', 'p05_ed', 'p05')
    """
    folder, _, name = key.rpartition("/")
    return folder + STUDY_MASKS[name] if folder and name in STUDY_MASKS else key


def _better(old: _Found, new: _Found, issues: list[Issue]) -> _Found:
    """Of two files of one name the mask: the one that says so, or the one that is not DICOM."""
    if old.marked != new.marked:
        kept, other = (new, old) if new.marked else (old, new)
        why = f"{kept.path.name} is the mask"
    elif _is_dicom(old.path) != _is_dicom(new.path):
        kept, other = (new, old) if _is_dicom(old.path) else (old, new)
        why = f"{kept.path.name} stands for it"
    else:
        raise DatasetError(
            f"expected one mask for each name, found {old.path} and {new.path}: remove one"
        )
    issues.append(Issue("not-a-mask", "info", f"left out {other.path}: {why}"))
    return kept


def _match(reference: Path, prediction: Path, issues: list[Issue]) -> list[tuple[str, Path, Path]]:
    """Pairs (key, reference file, prediction file); what stays alone becomes an issue."""
    first, second = _masks(reference, issues), _masks(prediction, issues)
    partner = {key: key for key in first if key in second}
    rest = _once(found for key, found in second.items() if key not in partner)
    for name, key in _once(found for key, found in first.items() if key not in partner).items():
        if name in rest:
            partner[key] = rest[name]
    if not partner:
        raise DatasetError(
            f"expected masks of the same names in both folders, found none among {len(first)} in "
            f"{reference} (such as {min(first)}) and {len(second)} in {prediction} (such as "
            f"{min(second)}): rename the files"
        )
    taken = set(partner.values())
    lonely = [
        ("reference-only", "no prediction", first[key]) for key in first if key not in partner
    ]
    lonely += [
        ("prediction-only", "no reference", second[key]) for key in second if key not in taken
    ]
    issues += [
        Issue(code, "warning", f"{what} has the name of {found.path}: not compared")
        for code, what, found in lonely
    ]
    return [(key, first[key].path, second[other].path) for key, other in sorted(partner.items())]


def _once(found: Iterable[_Found]) -> dict[str, str]:
    """Name -> key of the files whose name stands once."""
    keys: dict[str, list[str]] = {}
    for item in found:
        keys.setdefault(item.name, []).append(item.key)
    return {name: own[0] for name, own in keys.items() if len(own) == 1}


def _patient_and_phase(key: str) -> tuple[str, str | None]:
    """Patient and phase that a name states: the word ED or ES is a phase, the rest is the patient.

    >>> _patient_and_phase("p05/ED_lv"), _patient_and_phase("p05_ES"), _patient_and_phase("p05")
    (('p05', 'ED'), ('p05', 'ES'), ('p05', None))
    """
    folder, _, name = key.rpartition("/")
    phase, bare = split_phase(name)
    if phase is None:
        return key, None
    return (folder or bare or name), phase


def _rows(
    key: str,
    files: tuple[Path, Path],
    masks: tuple[Mask, Mask],
    sample: Sample | None,
    issues: list[Issue],
) -> list[ImageRow]:
    reference, prediction = masks
    placed = reference.planes is not None and prediction.planes is not None
    for which, mask in (("reference", reference), ("prediction", prediction)):
        doubts = [i for i in mask.issues if i.severity != "info" and i.code != "no-spacing"]
        issues += [replace(each, text=f"'{key}', the {which}: {each.text}") for each in doubts]
    spacing = _spacing(key, reference, prediction, issues, placed=placed)
    if placed:
        prediction = _in_place(key, prediction, reference, issues)
    shapes = reference.labels.shape, prediction.labels.shape
    if shapes[0] != shapes[1]:
        raise GeometryMismatchError(
            f"expected both masks of '{key}' on one grid, found [phase, slice, row, column] "
            f"{shapes[0]} in {files[0]} and {shapes[1]} in {files[1]}"
        )
    if spacing is None and sample is not None and sample.pixel_spacing_mm is not None:
        spacing = (sample.pixel_spacing_mm, sample.pixel_spacing_mm)
    patient, phase_name = (sample.patient_id, sample.phase) if sample else _patient_and_phase(key)
    rows = []
    for label in foreground():
        a, b = reference.of(label), prediction.of(label)
        for t, z in _places(key, label, a, b, issues):
            rows.append(
                compare_slice(
                    a[t, z],
                    b[t, z],
                    file=key,
                    patient_id=patient,
                    label=label,
                    pixel_spacing_mm=spacing,
                    phase=phase_name if len(a) == 1 else t,
                    slice_index=z if a.shape[1] > 1 else (sample.slice_index if sample else None),
                    pathology=sample.pathology if sample else None,
                )
            )
    return rows


def _places(
    key: str, label: Label, a: NDArray[np.bool_], b: NDArray[np.bool_], issues: list[Issue]
) -> list[tuple[int, int]]:
    """(phase, slice) where either mask [T, Z, Y, X] has a label; the first if there is none."""
    drawn: NDArray[np.bool_] = np.asarray(a.any(axis=(1, 2, 3)))
    phases = _annotated(key, label, drawn, issues)
    either: NDArray[np.bool_] = np.asarray((a | b).any(axis=(2, 3)))
    return [(t, z) for t in phases for z in range(a.shape[1]) if either[t, z]] or [(0, 0)]


def _annotated(key: str, label: Label, holds: NDArray[np.bool_], issues: list[Issue]) -> list[int]:
    """Phases to compare: a ventricle never vanishes, so a phase without it was not annotated."""
    chosen = [int(t) for t in np.flatnonzero(holds)]
    if not chosen or len(chosen) == len(holds):
        return list(range(len(holds)))
    text = (
        f"the reference of '{key}' has a {label.word} in {len(chosen)} of {len(holds)} phases: "
        "only these are compared"
    )
    issues.append(Issue("phases-not-annotated", "info", text))
    return chosen


def _in_place(key: str, prediction: Mask, reference: Mask, issues: list[Issue]) -> Mask:
    """The prediction at the pixels of the reference; what that cost becomes an issue."""
    try:
        moved = onto_grid(replace(prediction, issues=()), reference.grid)
    except GeometryMismatchError as error:
        raise GeometryMismatchError(f"'{key}': {error}") from error
    issues += [replace(each, text=f"'{key}': {each.text}") for each in moved.issues]
    return moved


def _spacing(
    key: str, reference: Mask, prediction: Mask, issues: list[Issue], *, placed: bool
) -> tuple[float, float] | None:
    """In-plane spacing of a pair: the reference's, else the prediction's, else unknown."""
    own, other = reference.pixel_spacing_mm, prediction.pixel_spacing_mm
    if placed:
        return own
    if own and other and not np.allclose(own, other, rtol=SPACING_TOLERANCE):
        text = (
            f"'{key}': pixel spacing {own[0]:.4g} x {own[1]:.4g} mm in the reference and "
            f"{other[0]:.4g} x {other[1]:.4g} mm in the prediction: the reference's is used"
        )
        issues.append(Issue("spacing-differs", "warning", text))
    if (reference.planes is None) != (prediction.planes is None):
        which = "reference" if reference.planes is None else "prediction"
        text = f"'{key}': the {which} states no place: compared pixel by pixel as they are counted"
        issues.append(Issue("place-unknown", "warning", text))
    return own or other
