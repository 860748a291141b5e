"""Results of a study: phases, measurements, confidence, issues, the verdict; as JSON and as a row.

:meth:`StudyResult.to_dict` is the content of ``measurements.json``, :func:`row_of` makes one line
of a table of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.errors import UsageError
from lvseg.geometry import Grid
from lvseg.issues import Issue, Verdict, verdict_of
from lvseg.labels import Label
from lvseg.modelcard import ModelCard
from lvseg.subject import Sex
from lvseg.version import __version__

#: (low, high), in the unit of the value.
Interval = tuple[float, float]
#: Version of the document; it changes when a name or a meaning does.
SCHEMA = 1
#: Stages that are always named, null where they did not run.
_STAGES = ("read", "predict", "write")
#: Keys of the document that are columns of a table under the same name.
_PLAIN_COLUMNS = (
    *("ed_phase", "es_phase", "edv_ml", "esv_ml", "sv_ml", "ef_percent", "mass_g"),
    *("heart_rate_bpm", "cardiac_output_l_min", "peak_ejection_rate_ml_s"),
    *("peak_filling_rate_ml_s", "bsa_m2"),
)
#: Values that are divided by the body surface area -> the field of the result.
INDEXED: Mapping[str, str] = MappingProxyType(
    {
        "edv_ml": "edv_ml_per_m2",
        "esv_ml": "esv_ml_per_m2",
        "sv_ml": "sv_ml_per_m2",
        "mass_g": "mass_g_per_m2",
    }
)
#: Settings of the body that are or may be paths of files.
_FILES = frozenset({"covariates", "reference_ranges"})
#: Intervals, each of which makes two columns.
_INTERVALS = ("edv_ml", "esv_ml", "ef_percent", "mass_g")


@dataclass(frozen=True, slots=True)
class Phases:
    """Indices of end-diastole and end-systole, None where unknown, and the rule that chose them."""

    end_diastole: int | None
    end_systole: int | None
    how: str


@dataclass(frozen=True, slots=True)
class LVMeasurements:
    """Physiology of one mask; a value that cannot be known is None and an issue says why.

    :param volume_ml: cavity volume of each phase, [F].
    :param area_mm2: cavity area of each phase and slice, [F][Z]; None without pixel spacing.
    :param area_px: the same in pixels, always known, [F][Z].
    :param heart_rate_bpm: of the cine, None where its header does not tell.
    :param cardiac_output_l_min: stroke volume times heart rate.
    :param peak_ejection_rate_ml_s: fastest fall of the volume curve, as a positive number.
    :param peak_filling_rate_ml_s: fastest rise of the volume curve.
    :param mass_g: of the myocardium at end-diastole.
    :param wall_thickness_mm: mean over each slice at end-diastole, [Z]; None for a slice without a
        closed wall around a cavity.
    :param edv_ml_interval: lowest and highest true value to expect with the coverage that the card
        states (90 %); likewise for ``esv_ml``, ``ef_percent`` and ``mass_g``.
    :param bsa_m2: body surface area; the values ``..._per_m2`` are divided by it.
    :param slices_ed: (first, last) slice index that holds cavity at end-diastole, likewise ``es``.
    :param methods: name -> the rule applied (volume, papillary muscles, base, apex, phases).
    :param phase_index: which phases of the cine the entries [F] are.
    """

    phases: Phases
    volume_ml: tuple[float, ...] | None
    area_mm2: tuple[tuple[float, ...], ...] | None
    area_px: tuple[tuple[int, ...], ...]
    edv_ml: float | None
    esv_ml: float | None
    sv_ml: float | None
    ef_percent: float | None
    heart_rate_bpm: float | None = None
    cardiac_output_l_min: float | None = None
    peak_ejection_rate_ml_s: float | None = None
    peak_filling_rate_ml_s: float | None = None
    mass_g: float | None = None
    wall_thickness_mm: tuple[float | None, ...] | None = None
    edv_ml_interval: Interval | None = None
    esv_ml_interval: Interval | None = None
    ef_percent_interval: Interval | None = None
    mass_g_interval: Interval | None = None
    bsa_m2: float | None = None
    edv_ml_per_m2: float | None = None
    esv_ml_per_m2: float | None = None
    sv_ml_per_m2: float | None = None
    mass_g_per_m2: float | None = None
    slices_ed: tuple[int, int] | None = None
    slices_es: tuple[int, int] | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    phase_index: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The keys of ``measurements.json`` that a mask alone can fill; ready for JSON."""
        return _document({}, self, {"quality": _quality(self.issues)}, self.phase_index)

    def row(self) -> dict[str, Any]:
        """One line of a table: :func:`row_of`."""
        return row_of(self.to_dict())

    def to_dataframe(self) -> Any:
        """The row as a pandas DataFrame.

        :raises UsageError: pandas is not installed.
        """
        return _data_frame(self.row())


@dataclass(frozen=True, slots=True)
class Confidence:
    """How well the mask probably agrees with an expert's, without having one.

    :param expected_dice: of the whole study, 0..1, from the model's calibration.
    :param by_slice: the same for each phase and slice, [F][Z]; None where the slice is empty.
    """

    expected_dice: float
    by_slice: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Limits between which healthy hearts lie, and whether the value does."""

    low: float
    high: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """Ranges of one table for the sex and the age of the person.

    :param table: its name; :param title: in words; :param limits: what the limits are.
    :param notice: what everybody who sees a range must know.
    :param checked: whether the figures were compared with the authors' own page.
    :param ages: whole years from and to; :param ranges: field of the measurements -> its range.
    """

    table: str
    title: str
    limits: str
    notice: str
    citation: str
    doi: str
    checked: bool
    sex: Sex
    ages: tuple[int, int]
    ranges: Mapping[str, Range]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A DICOM object by its UIDs."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The result that a mask was edited from.

    :param version: its number, None where it has none; :param segmentations: its DICOM SEGs;
    :param reports: its DICOM SRs.
    """

    version: int | None = None
    segmentations: tuple[ObjectRef, ...] = ()
    reports: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who answers for a mask that is not a model's own.

    :param reader: the name as the reader gives it; "" = nobody is named.
    :param verified_by: the organisation for which the reader verified the result; "" = it is not
        verified.
    :param read_at: when the reader gave the mask, as DICOM has it (YYYYMMDDHHMMSS, PS3.5 6.2);
        "" = not told: DICOM objects have the date of the study.
    """

    reader: str = ""
    verified_by: str = ""
    predecessor: Predecessor | None = None
    read_at: str = ""

    @property
    def parent(self) -> int | None:
        """Version of the predecessor."""
        return None if self.predecessor is None else self.predecessor.version

    @property
    def version(self) -> int:
        """One more than the predecessor; a model's own result is version 0."""
        return 1 + (self.parent or 0)


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """A cine, its mask, the measurements and everything noticed on the way.

    :param confidence: None where the model's card has no calibration, or nothing was found.
    :param probabilities: before clean-up, by label, [T, Z, Y, X] 0..1; None unless asked for.
    :param settings: those the result was made with, as JSON has them.
    :param seconds: stage -> wall seconds (read, prepare, locate, predict, postprocess, measure...).
    :param reference: normal ranges, None where none were asked for or none fit.
    :param authorship: of a mask that a person drew, edited or brought; None: the model's own.
    """

    cine: Cine
    mask: Mask
    measurements: LVMeasurements
    issues: tuple[Issue, ...]
    card: ModelCard | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    confidence: Confidence | None = None
    probabilities: Mapping[Label, NDArray[np.float32]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    authorship: Authorship | None = None
    reference: Reference | None = None

    @property
    def verdict(self) -> Verdict:
        """pass, review or fail: the worst severity among the issues."""
        return verdict_of(self.issues)

    @property
    def read_at(self) -> str:
        """When a reader gave the mask; "" for a model's own result."""
        return "" if self.authorship is None else self.authorship.read_at

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``measurements.json``, schema 1.

        Volumes in ml, areas in mm2, mass in g, wall thickness in mm, percent, cardiac output and
        the intervals of values (``[low, high]``) have 2 decimals, the heart rate and peak rates 1,
        seconds and Dice 3, spacings 4. ``volume_ml``, ``area_mm2`` and
        ``quality.expected_dice_by_slice`` have one entry per phase in ``phase_index``; they are
        null where they cannot be known, and so is every other value. ``seconds.total`` is the sum
        of the stages. ``reader`` is null where nobody is named; the model's own result is version
        0, and ``parent`` the version that this one was edited from. ``settings`` stands there where
        the result has some.
        """
        card = self.card
        model = None if card is None else {"name": card.name, "sha256": card.sha256}
        author = self.authorship
        document = _document(
            {"model": model, "study": _study(self.cine)},
            self.measurements,
            {"quality": _quality(self.issues, self.confidence), "seconds": _seconds(self.seconds)},
            self.mask.phases,
        ) | {
            "reference": None if self.reference is None else _reference(self.reference),
            "reader": None if author is None else author.reader or None,
            "version": 0 if author is None else author.version,
            "parent": None if author is None else author.parent,
        }
        return document | ({"settings": _settings(self.settings)} if self.settings else {})

    def row(self) -> dict[str, Any]:
        """One line of a table, with the name of the study: :func:`row_of`."""
        return {"study": self.cine.source.name, **row_of(self.to_dict())}

    def to_dataframe(self) -> Any:
        """The row as a pandas DataFrame, to be joined with others by ``pandas.concat``.

        :raises UsageError: pandas is not installed.
        """
        return _data_frame(self.row())


def mask_document(
    source: str, mask: Mask, values: LVMeasurements, issues: tuple[Issue, ...]
) -> dict[str, Any]:
    """Describe the measurements of a mask alone: the keys of ``measurements.json`` it can fill.

    :param source: the path of the mask; :param issues: everything noticed, those of the
        measurements included.
    """
    study = {"source": _last_part(source) or source, **_size(len(mask.phases), mask.grid)}
    return _document({"study": study}, values, {"quality": _quality(issues)}, mask.phases)


def row_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a table of a document: plain values under column names that carry the unit.

    An interval makes two columns (``edv_ml_low``, ``edv_ml_high``), the findings one of their
    codes, ``; `` between them. A column is there, and None, where its value is not known.

    :param document: as :func:`StudyResult.to_dict` or ``measurements.json`` has it; keys that it
        lacks are not known.
    """
    study, quality = document.get("study") or {}, document.get("quality") or {}
    model = document.get("model") or {}
    row = {name: study.get(name) for name in ("source", "slices", "phases")}
    row |= {name: document.get(name) for name in (*_PLAIN_COLUMNS, *INDEXED.values())}
    for name in _INTERVALS:
        low, high = document.get(f"{name}_interval") or (None, None)
        row |= {f"{name}_low": low, f"{name}_high": high}
    return row | {
        "verdict": quality.get("verdict"),
        "findings": "; ".join(each["code"] for each in quality.get("findings") or ()),
        "expected_dice": quality.get("expected_dice"),
        "model": model.get("name"),
        "model_sha256": model.get("sha256"),
        "lvseg": document.get("lvseg"),
        "reader": document.get("reader"),
        "version": document.get("version"),
        "seconds": (document.get("seconds") or {}).get("total"),
    }


def _data_frame(row: Mapping[str, Any]) -> Any:
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise UsageError(
            "expected pandas for a data frame, found none: run  pip install pandas, or use row()"
        ) from error
    return DataFrame([row])


def _document(
    origin: Mapping[str, Any],
    values: LVMeasurements,
    judgement: Mapping[str, Any],
    phases: tuple[int, ...],
) -> dict[str, Any]:
    """The keys of both documents in their order."""
    areas, volumes = values.area_mm2, values.volume_ml
    return {
        "schema": SCHEMA,
        "lvseg": __version__,
        **origin,
        "ed_phase": values.phases.end_diastole,
        "es_phase": values.phases.end_systole,
        "edv_ml": _rounded(values.edv_ml),
        "esv_ml": _rounded(values.esv_ml),
        "sv_ml": _rounded(values.sv_ml),
        "ef_percent": _rounded(values.ef_percent),
        "volume_ml": None if volumes is None else [_rounded(volume) for volume in volumes],
        "area_mm2": (
            None if areas is None else [[_rounded(area) for area in row] for row in areas]
        ),
        **judgement,
        "phase_index": list(phases),
        "heart_rate_bpm": _rounded(values.heart_rate_bpm, 1),
        "cardiac_output_l_min": _rounded(values.cardiac_output_l_min),
        "peak_ejection_rate_ml_s": _rounded(values.peak_ejection_rate_ml_s, 1),
        "peak_filling_rate_ml_s": _rounded(values.peak_filling_rate_ml_s, 1),
        "phases_rule": values.phases.how,
        "slices_ed": None if values.slices_ed is None else list(values.slices_ed),
        "slices_es": None if values.slices_es is None else list(values.slices_es),
        "conventions": dict(values.methods),
        "area_px": [list(row) for row in values.area_px],
        "mass_g": _rounded(values.mass_g),
        "wall_thickness_mm": (
            None
            if values.wall_thickness_mm is None
            else [_rounded(each) for each in values.wall_thickness_mm]
        ),
        "edv_ml_interval": _interval(values.edv_ml_interval),
        "esv_ml_interval": _interval(values.esv_ml_interval),
        "ef_percent_interval": _interval(values.ef_percent_interval),
        "mass_g_interval": _interval(values.mass_g_interval),
        "bsa_m2": _rounded(values.bsa_m2, 3),
        **{name: _rounded(getattr(values, name)) for name in INDEXED.values()},
    }


def _reference(found: Reference) -> dict[str, Any]:
    return {
        "table": found.table,
        "title": found.title,
        "limits": found.limits,
        "notice": found.notice,
        "citation": found.citation,
        "doi": found.doi,
        "checked": found.checked,
        "sex": found.sex,
        "ages": list(found.ages),
        "ranges": {
            name: {"low": each.low, "high": each.high, "inside": each.inside}
            for name, each in found.ranges.items()
        },
    }


def _quality(issues: tuple[Issue, ...], confidence: Confidence | None = None) -> dict[str, Any]:
    return {
        "verdict": verdict_of(issues),
        "findings": [issue.to_dict() for issue in issues],
        "expected_dice": None if confidence is None else _rounded(confidence.expected_dice, 3),
        "expected_dice_by_slice": (
            None
            if confidence is None
            else [[_rounded(dice, 3) for dice in row] for row in confidence.by_slice]
        ),
    }


def _study(cine: Cine) -> dict[str, Any]:
    return {
        "source": _last_part(cine.source.location) or cine.source.name,
        "format": cine.source.format,
        **_size(cine.shape[0], cine.grid),
        "order_rule": cine.source.order_rule or None,
        "complete": cine.complete,
    }


def _last_part(location: str) -> str:
    """The name at the end of a path: the folders above it are of a machine and its people."""
    name = location.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return "" if name in (".", "..") else name


def _settings(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with files by their names alone."""
    body = {
        key: _last_part(value) if key in _FILES and value is not None else value
        for key, value in chosen.get("body", {}).items()
    }
    return {**chosen, "body": body} if body else dict(chosen)


def _size(phases: int, grid: Grid) -> dict[str, Any]:
    pixels = grid.pixel_spacing_mm
    return {
        "slices": grid.slices,
        "phases": phases,
        "pixel_spacing_mm": None if pixels is None else [_rounded(mm, 4) for mm in pixels],
        "slice_spacing_mm": _rounded(grid.slice_spacing_mm, 4),
    }


def _seconds(seconds: Mapping[str, float]) -> dict[str, float | None]:
    stages: dict[str, float | None] = {name: _rounded(seconds.get(name), 3) for name in _STAGES}
    stages["total"] = _rounded(sum(v for name, v in seconds.items() if name != "total"), 3)
    more = {name: _rounded(v, 3) for name, v in seconds.items() if name not in stages}
    return stages | more


def _interval(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [_rounded(bound) for bound in found]


def _rounded(value: float | None, digits: int = 2) -> float | None:
    # + 0.0 turns a negative zero into zero.
    return None if value is None else round(float(value), digits) + 0.0
