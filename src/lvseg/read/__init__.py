"""Readers: DICOM, NIfTI, images and arrays to a :class:`Study`; folders, archives and files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cine import SMALLEST_SIDE_PX, Cine, Mask, SeriesSummary, Study
from lvseg.contour_files import numbered_contours
from lvseg.errors import GeometryError, LabelMapError, LvsegError, ReadError, UsageError
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.names import PHASES
from lvseg.read.fingerprint import byte_fingerprint, quick_fingerprint
from lvseg.read.identifiers import identifying_parts
from lvseg.read.mask import label_map_values, picture_labels, read_mask, shown
from lvseg.read.predecessor import read_predecessor
from lvseg.read.sources import Blob, Files, Progress
from lvseg.read.studies import StudyRef, coded, pair_ref, read_source_headers, scan, uncoded

__all__ = [
    "StudyRef",
    "byte_fingerprint",
    "coded",
    "find_studies",
    "identifying_parts",
    "list_series",
    "pair_ref",
    "picture_labels",
    "quick_fingerprint",
    "read_mask",
    "read_mask_on",
    "read_picture",
    "read_predecessor",
    "read_source_headers",
    "read_study",
    "study_of_array",
]


def find_studies(source: Path, *, limits: ReadingLimits = USUAL) -> tuple[StudyRef, ...]:
    """Every study in a source, DICOM studies by UID first, then NIfTI files and pictures by name.

    A source is a folder, a zip archive or a file, other things mixed in. A DICOM study is listed
    whether or not it holds a short-axis cine; reading it tells.

    :param limits: of this source, and of its studies when they are read.
    :raises ReadError: nothing there, nothing readable, no permission, a broken archive.
    :raises NotACineError: only DICOM objects without images.
    """
    with Files(limits) as files:
        return scan(Path(source), files)


def read_study(
    source: Path | StudyRef,
    *,
    spacing_mm: float | None = None,
    progress: Progress | None = None,
    limits: ReadingLimits = USUAL,
) -> Study:
    """Read one study; of a path with several, the first that holds a short-axis cine.

    One whose images are of many heartbeats (perfusion) is taken where no other is there.

    :param spacing_mm: pixel distance of a picture; other formats state their own.
    :param progress: called with (done, total) after each file or frame.
    :param limits: of a path; a study that was found has those it was found with.
    :raises LimitError: larger than the limits allow.
    :raises ReadError: unreadable. NotACineError: no short-axis cine. InconsistentStackError:
        slices of different size. UnsupportedEncodingError: no decoder for the pixels.
    :raises LabelMapError: an image of two to five values, which is a mask.
    :raises UsageError: a spacing that is not positive.
    """
    if spacing_mm is not None and not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise UsageError(f"expected a spacing above 0 mm, found {spacing_mm}")
    with Files(source.limits if isinstance(source, StudyRef) else limits) as files:
        if isinstance(source, StudyRef):
            try:
                return _read(source, files, spacing_mm, progress, ())
            except LvsegError as error:
                if not source.origin:
                    raise
                raise type(error)(uncoded(str(error), source)) from None
        refs = scan(Path(source), files, progress)
        chosen, issues = _choose(refs, files)
        return _read(chosen, files, spacing_mm, progress, issues)


def _choose(refs: Sequence[StudyRef], files: Files) -> tuple[StudyRef, tuple[Issue, ...]]:
    if len(refs) == 1:
        return refs[0], ()
    ranks = [_rank(ref, files) for ref in refs]
    fit = [ref for ref, rank in zip(refs, ranks, strict=True) if rank]
    chosen = refs[ranks.index(max(ranks))]
    if len(fit) < 2:
        return chosen, ()
    text = f"the source holds {len(fit)} studies that can be measured; this is one of them"
    return chosen, (Issue("several-studies", "warning", text),)


def _rank(ref: StudyRef, files: Files) -> int:
    """How fit a study is to be read: see :func:`lvseg.read.dicom.cine_rank`."""
    if ref.format != "dicom":
        return 2
    from lvseg.read.dicom import cine_rank

    return cine_rank(ref.frames, files)


def _read(
    ref: StudyRef,
    files: Files,
    spacing_mm: float | None,
    progress: Progress | None,
    issues: tuple[Issue, ...],
) -> Study:
    if ref.blob is None:
        from lvseg.read.dicom import read_frames

        if ref.broken:
            text = f"{ref.broken} file(s) of the source look like DICOM and cannot be read"
            issues = (*issues, Issue("unreadable-files", "warning", text))
        if len(ref.study_uids) > 1:
            text = (
                f"{len(ref.study_uids)} studies of the source share a frame of reference, or the "
                "day and the orientation, and complete each other: they were taken as one"
            )
            issues = (*issues, Issue("studies-joined", "warning", text))
        study = read_frames(
            ref.frames,
            files,
            name=ref.name,
            location=ref.location,
            progress=progress,
            issues=issues,
        )
        _no_label_map(study.short_axis())
        issues = ()
    else:
        cine = _read_file(ref, ref.blob, files, spacing_mm)
        if progress is not None:
            progress(1, 1)
        study = Study((cine,), (_row(ref, cine),))
    if spacing_mm is not None and ref.format != "picture":
        text = "the spacing given applies to pictures only; this source states its own geometry"
        issues = (*issues, Issue("spacing-ignored", "info", text))
    if not issues:
        return study
    cines = tuple(replace(cine, issues=(*cine.issues, *issues)) for cine in study.cines)
    return Study(cines, study.series)


def _read_file(ref: StudyRef, blob: Blob, files: Files, spacing_mm: float | None) -> Cine:
    """The cine of a study in one file, or in two."""
    if ref.pair is None:
        return _image(ref.format, blob, files, ref.name, ref.location, spacing_mm)
    from lvseg.read.pairs import joined

    ed, es = (
        _image("nifti", each, files, ref.name, f"{ref.name} {end}" if ref.origin else each.label)
        for end, each in zip(PHASES, (ref.pair.ed, ref.pair.es), strict=True)
    )
    return joined(ed, es, name=ref.name, location=ref.location)


def _image(
    kind: str, blob: Blob, files: Files, name: str, location: str, spacing_mm: float | None = None
) -> Cine:
    if kind == "picture":
        from lvseg.read.picture import cine_from_picture

        content = files.read(blob)
        how: dict[str, Any] = {"spacing_mm": spacing_mm, "limits": files.limits}
        cine = cine_from_picture(content, name=name, location=location, **how)
    else:
        cine = _nifti(blob, files, name, location)
    return _no_label_map(cine)


def _no_label_map(cine: Cine) -> Cine:
    values = label_map_values(cine.frames)
    if values:
        raise LabelMapError(
            f"expected an image, found a label map (values {shown(values)}) in "
            f"{cine.source.location or 'the array'}: give the image, or measure the mask with "
            "lvseg measure"
        )
    return cine


def _refuse_small(cine: Cine, where: str) -> None:
    rows, columns = cine.shape[2:]
    if min(rows, columns) < SMALLEST_SIDE_PX:
        raise ReadError(
            f"expected images of at least {SMALLEST_SIDE_PX} pixels a side, found "
            f"{columns} x {rows} in {where}: the image is too small"
        )


def _nifti(blob: Blob, files: Files, name: str, location: str) -> Cine:
    from lvseg.read.nifti import HEADER_BYTES, cine_from_nifti, stated_bytes

    stated = stated_bytes(files.head(blob, HEADER_BYTES), files.limits, location)
    cine = cine_from_nifti(files.read(blob, stated), name=name, location=location)
    phases, slices = cine.shape[:2]
    files.limits.hold("frames", phases * slices, location)
    _refuse_small(cine, location)
    return cine


def read_mask_on(
    mask: Path,
    study: Path,
    *,
    label_values: Mapping[int, Label] | None = None,
    limits: ReadingLimits = USUAL,
) -> tuple[Cine, Mask]:
    """Read the cine of a study, and a mask on it.

    :param label_values: as in :func:`read_mask`. :raises LvsegError: as there and in
        :func:`read_study`.
    """
    cine = read_study(study, limits=limits).short_axis()
    headers = None
    if mask.is_dir() or numbered_contours([mask]):  # they name images by their numbers
        headers = read_source_headers(study, cine)
    how: dict[str, Any] = {"label_values": label_values, "source_headers": headers}
    return cine, read_mask(mask, like=cine, limits=limits, **how)


def study_of_array(
    array: NDArray[Any],
    *,
    pixel_spacing_mm: tuple[float, float] | None = None,
    slice_spacing_mm: float | None = None,
) -> Study:
    """The study of an array of grey values, with axes and spacings of :meth:`Cine.of_array`.

    :raises LabelMapError: two to five values, which is a mask. ReadError: an image too small to
        show a ventricle, and as there.
    """
    cine = Cine.of_array(
        array, pixel_spacing_mm=pixel_spacing_mm, slice_spacing_mm=slice_spacing_mm
    )
    _refuse_small(cine, "the array")
    return Study((_no_label_map(cine),))


def _row(ref: StudyRef, cine: Cine) -> SeriesSummary:
    phases, slices, rows, columns = cine.shape
    kind = "NIfTI" if ref.format == "nifti" else "picture"
    step_mm = cine.slice_spacing_mm
    how = f"a {kind} is taken as it is" if ref.pair is None else cine.source.order_rule
    doubts = dict.fromkeys(issue.code for issue in cine.issues if issue.severity != "info")
    return SeriesSummary(
        study_uid="",
        series_uid=ref.name,
        description=ref.name,
        modality=kind,
        files=1 if ref.pair is None else 2,
        rows=rows,
        columns=columns,
        slices=slices,
        phases=phases,
        pixel_spacing_mm=cine.pixel_spacing_mm,
        slice_spacing_mm=None if step_mm is None else round(step_mm, 6),
        view=cine.view,
        score=1.0,
        reason="; ".join([how, *doubts]),
        chosen=True,
    )


def list_series(
    source: Path, *, progress: Progress | None = None, limits: ReadingLimits = USUAL
) -> tuple[SeriesSummary, ...]:
    """Every series of a source, those without images included; ``chosen`` on the one to be used.

    A NIfTI file or a picture is one row; one that cannot be read has score 0 and says why.

    :param progress: called with (done, total) after each file.
    :raises ReadError: nothing there, nothing readable, no permission, a broken archive.
    """
    rows: list[SeriesSummary] = []
    with Files(limits) as files:
        for ref in scan(Path(source), files, progress):
            if ref.blob is None:
                from lvseg.read.dicom import summaries

                rows.extend(summaries(ref.frames, files))
                continue
            try:
                rows.append(_row(ref, _read_file(ref, ref.blob, files, None)))
            except (ReadError, GeometryError) as error:
                rows.append(_unreadable_row(ref, str(error)))
    return tuple(rows)


def _unreadable_row(ref: StudyRef, why: str) -> SeriesSummary:
    kind = "NIfTI" if ref.format == "nifti" else "picture"
    return SeriesSummary(
        "", ref.name, ref.name, kind, 1, 0, 0, 0, 0, None, None, "unknown", 0.0, why
    )


def read_picture(path: Path) -> NDArray[np.float32]:
    """Grey values ``[Y, X]`` of a PNG, JPEG or TIFF, as stored.

    :raises ReadError: broken, several pages, too many pixels. NotACineError: a colour picture.
    """
    from lvseg.read.picture import decode

    with Files() as files:
        values, _ = decode(files.read(Blob(Path(path))), str(path))
    return values
