"""What an edited mask was made from: the version of an earlier result and its DICOM objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvseg.bounds import read_json_object
from lvseg.errors import UsageError
from lvseg.formats import MEASUREMENTS
from lvseg.issues import Issue
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.results import ObjectRef, Predecessor

#: Names that results of lvseg give their DICOM objects.
_REPORT, _SEGMENTATIONS = "report.dcm", "segmentation*.dcm"


def read_predecessor(
    mask: Path, folder: Path | None = None, *, study_uid: str | None = None
) -> tuple[Predecessor | None, tuple[Issue, ...]]:
    """The result that a mask was edited from, None where nothing tells.

    It is the folder of a result that is named, else the one that holds the mask; and the mask
    itself where it is a DICOM Segmentation.

    :param folder: of a result of lvseg, where the mask lies elsewhere.
    :param study_uid: of the cine: objects of other studies are left out.
    :returns: the predecessor, and ``other-study`` where objects were left out; a result of which
        all objects belong to another study is no predecessor.
    :raises UsageError: a folder that is given and holds no result of lvseg.
    """
    from lvseg.read.segmentation import is_segmentation

    document = _document(mask.parent if folder is None else folder)
    if folder is not None and document is None:
        raise UsageError(
            f"expected the folder of a result of lvseg (with {MEASUREMENTS}) as predecessor, "
            f"found none at {folder}"
        )
    held = (folder or mask.parent) if document is not None else None
    files = [] if held is None else sorted(held.glob(_SEGMENTATIONS))
    if is_segmentation(mask) and mask not in files:
        files.append(mask)
    segmentations = tuple(filter(None, map(_reference, files)))
    report = None if held is None else _reference(held / _REPORT)
    reports = () if report is None else (report,)
    if document is None and not segmentations:
        return None, ()
    fit = [
        tuple(each for each in objects if study_uid in (None, each.study_uid))
        for objects in (segmentations, reports)
    ]
    version = None if document is None else document.get("version", 0)
    known = Predecessor(version if isinstance(version, int) else None, fit[0], fit[1])
    left_out = len(segmentations) + len(reports) - len(fit[0]) - len(fit[1])
    if not left_out:
        return known, ()
    text = f"{left_out} DICOM object(s) of the earlier result belong to another study: not named"
    issue = Issue("other-study", "warning", text)
    return known if fit[0] or fit[1] else None, (issue,)


def _document(folder: Path) -> dict[str, Any] | None:
    """The measurements of a result of lvseg; None where there are none."""
    try:
        document = read_json_object(folder / MEASUREMENTS)
    except (OSError, ValueError):
        return None
    return document if "lvseg" in document else None


def _reference(path: Path) -> ObjectRef | None:
    """The identity of a DICOM object; None where there is no such file, or it has none."""
    from pydicom import dcmread

    names = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    suppress_pydicom_warnings()
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(names))
        uids = [str(header[name].value) for name in names]
    except Exception:  # no file, no DICOM or a broken one
        return None
    return ObjectRef(*uids) if all(uids) else None
