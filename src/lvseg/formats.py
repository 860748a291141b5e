"""Output formats of a study as data: their names, their files and the sources that can have them.

One table feeds the help of the command line, the writers (:mod:`lvseg.output`), the reader, which
leaves out what ``lvseg segment`` wrote, and the comparison of folders, which finds masks in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

#: The file that makes a folder a result.
MEASUREMENTS = "measurements.json"
#: SHA-256 of every file of a result; written last.
MANIFEST = "manifest.json"
#: The page for people.
REPORT = "report.html"
SOURCES = frozenset({"dicom", "nifti", "picture", "array"})


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format of ``--formats``.

    :param files: what it writes into the folder of a study; ``*`` stands for the name of a picture.
    :param sources: kinds of source (``Source.format``) that can have it.
    :param default: kinds of source that get it without a choice.
    :param needs: what the other sources lack, for the message.
    :param masks: name of a mask file without ending -> what it adds to the name of the study.
    """

    name: str
    files: tuple[str, ...]
    sources: frozenset[str] = SOURCES
    default: frozenset[str] = frozenset()
    needs: str = ""
    masks: tuple[tuple[str, str], ...] = ()


_STACKS = frozenset({"dicom", "nifti", "array"})
_DICOM = frozenset({"dicom"})

#: In the order of writing: the two reports come last and say what the others noticed.
FORMATS = (
    OutputFormat(
        "nifti",
        ("segmentation.nii.gz",),
        _STACKS,
        _STACKS,
        "a place in space, a picture has none; use png",
        (("segmentation", ""),),
    ),
    OutputFormat(
        "seg-nrrd",
        ("segmentation.seg.nrrd",),
        _STACKS,
        _STACKS,
        "a place in space, a picture has none; use png",
    ),
    OutputFormat("itk-snap", ("segmentation.label",), default=_STACKS),
    OutputFormat("png", ("overlays", "*_mask.png", "*_overlay.png"), default=SOURCES),
    OutputFormat("contours", ("contours.json",), default=_STACKS),
    OutputFormat("sunnybrook", ("contours",)),
    OutputFormat(
        "dicom-seg",
        ("segmentation.dcm", "segmentation_ed.dcm", "segmentation_es.dcm"),
        _DICOM,
        _DICOM,
        "a DICOM source",
        (("segmentation", ""), ("segmentation_ed", "_ed"), ("segmentation_es", "_es")),
    ),
    OutputFormat("dicom-sr", ("report.dcm",), _DICOM, _DICOM, "a DICOM source"),
    OutputFormat("report", (REPORT,), default=_STACKS),
)


def result_names(source: str) -> frozenset[str]:
    """Names that we write into a study folder; anything else in it belongs to the user.

    :param source: name of the source, which the files of a picture carry.
    """
    files = (file.replace("*", source) for each in FORMATS for file in each.files)
    return frozenset({MEASUREMENTS, MANIFEST, *files})


def is_result_file(name: str) -> bool:
    """Whether a file or folder in a study folder of ours is one that we wrote."""
    files = (file for each in FORMATS for file in each.files)
    return name in (MEASUREMENTS, MANIFEST) or any(fnmatchcase(name, file) for file in files)
