"""Files of a layout: images become DICOM objects, objects become files of a folder or archive."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layout_dicom import ENHANCED, TRIGGERED, Image, images_of, truths_of, uid
from layout_encoding import directory, part10
from layout_model import DicomLayout
from layout_truth import STEP_MS, Truth
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Object:
    """One DICOM object: what it says, its frames, and the images it was made of."""

    header: dict[str, Any]
    images: list[Image]

    @property
    def frames(self) -> list[NDArray[Any]]:
        """Stored values of its frames."""
        return [one.stored for one in self.images]


#: Stand in the functional groups of an enhanced object.
_IN_GROUPS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "TriggerTime", "TemporalPositionIdentifier"),
    *("NumberOfTemporalPositions", "ScanningSequence", "SequenceName", "ContentTime"),
    *("HeartRate", "NominalInterval"),
)


def objects(layout: DicomLayout, images: Sequence[Image]) -> list[Object]:
    """The DICOM objects of a study, those of other series as single frames."""
    result: list[Object] = []
    groups: dict[tuple[object, ...], list[Image]] = {}
    for one in images:
        if layout.objects == "single-frame" or not one.main:
            result.append(Object(one.header, [one]))
            continue
        key = {
            "multi-frame a slice": (one.place,),
            "multi-frame of all": (),
            "enhanced": (),
            "enhanced a slice": (one.place,),
            "enhanced a phase": (one.phase,),
        }[layout.objects]
        where = (one.stack, one.header["SeriesInstanceUID"], one.stored.shape, *key)
        groups.setdefault(where, []).append(one)
    make = _enhanced if layout.objects.startswith("enhanced") else _classic
    return [make(layout, group) for group in groups.values()] + result


def _classic(layout: DicomLayout, images: list[Image]) -> Object:
    images = sorted(images, key=lambda one: (one.place, one.phase))
    timed = layout.times in TRIGGERED
    header = images[0].header | {
        "NumberOfFrames": len(images),
        "TriggerTime": None,
        "TemporalPositionIdentifier": None,
        "FrameTime": STEP_MS if timed else None,
        "FrameIncrementPointer": 0x00181063 if timed else None,
    }
    return Object(header, images)


def _enhanced(layout: DicomLayout, images: list[Image]) -> Object:
    told = layout.times in (*TRIGGERED, "temporal position", "acquisition time", "content time")
    if told or layout.numbers != "random":
        # else nothing is left of the order: no scanner shuffles the frames of an object
        images = sorted(images, key=lambda one: one.header["InstanceNumber"] or 0)
    first = images[0].header
    header = {key: value for key, value in first.items() if key not in _IN_GROUPS}
    kind = first["ImageType"] or ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]
    shared = {"MRImageFrameTypeSequence": [{"FrameType": [*kind[:2], "CARDIAC", "NONE"]}]}
    pointers = [{"DimensionIndexPointer": 0x00200032}, {"DimensionIndexPointer": 0x00209128}]
    groups = [_groups(layout, one) for one in images]
    header |= {
        "SOPClassUID": ENHANCED,
        "NumberOfFrames": len(images),
        "ImageType": [*kind[:2], "CARDIAC", "NONE"],
        "PulseSequenceName": first["SequenceName"],
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": groups,
        "DimensionIndexSequence": pointers if "DimensionIndexValues" in str(groups[0]) else None,
    }
    return Object(header, images)


def _groups(layout: DicomLayout, one: Image) -> dict[str, Any]:
    header = one.header
    groups: dict[str, Any] = {
        "PlanePositionSequence": [{"ImagePositionPatient": header["ImagePositionPatient"]}],
        "PlaneOrientationSequence": [
            {"ImageOrientationPatient": header["ImageOrientationPatient"]}
        ],
        "PixelMeasuresSequence": [
            {"PixelSpacing": header["PixelSpacing"], "SliceThickness": header["SliceThickness"]}
        ],
    }
    content: dict[str, Any] = {}
    date, time = header["AcquisitionDate"], header["AcquisitionTime"]
    content["FrameAcquisitionDateTime"] = f"{date}{time}" if time else None
    if layout.times in (*TRIGGERED, "temporal position"):
        content["TemporalPositionIndex"] = one.phase + 1
        content["DimensionIndexValues"] = [one.place + 1, one.phase + 1]
    groups["FrameContentSequence"] = [content]
    rate, trigger = header.get("HeartRate"), header["TriggerTime"]
    interval_ms = 60000 / rate if rate else header.get("NominalInterval")
    beat: dict[str, float] = {}
    if trigger is not None:
        beat["NominalCardiacTriggerDelayTime"] = float(trigger)
    if interval_ms is not None:  # PS3.3 C.7.6.16.2.7: of each frame, where HeartRate is of all
        beat["RRIntervalTimeNominal"] = float(interval_ms)
    if beat:
        groups["CardiacSynchronizationSequence"] = [beat]
    if header["RescaleSlope"] is not None:
        scale = {key: header[key] for key in ("RescaleSlope", "RescaleIntercept")}
        groups["PixelValueTransformationSequence"] = [{**scale, "RescaleType": "US"}]
    return groups


def write(layout: DicomLayout, root: Path) -> tuple[Path, tuple[Truth, ...]]:
    """Write the study below ``root``: the path to give to the reader, and the cines it holds."""
    images = images_of(layout)
    made = objects(layout, images)
    names = _names(layout, [each.header for each in made])
    files = {
        name: part10(each.header, each.frames, layout.syntax)
        for name, each in zip(names, made, strict=True)
    }
    if layout.lost != "nothing":
        at = _lost(layout, made)
        gone = {id(one) for one in made[at].images}
        images = [one for one in images if id(one) not in gone]
        if layout.lost == "one file":
            del files[names[at]]
        else:
            content = files[names[at]]
            files[names[at]] = content[: len(content) * 2 // 3]
    path = _CONTAINERS.get(layout.container, _folder)(layout, files, root)
    return path, truths_of(layout, images)


def _lost(layout: DicomLayout, made: Sequence[Object]) -> int:
    """Which object is lost: one from within the short axis."""
    found = [
        index
        for index, each in enumerate(made)
        if any(one.main and (one.place, one.phase) == (1, 1) for one in each.images)
    ]
    return found[0] if found else min(1, len(made) - 1)


def _names(layout: DicomLayout, headers: Sequence[Mapping[str, Any]]) -> list[str]:
    numbers = list(range(len(headers)))
    if layout.names == "shuffled":
        random.Random(layout.seed).shuffle(numbers)
    elif layout.names == "reversed":
        numbers.reverse()
    ending = "" if layout.names == "without ending" else ".dcm"
    if layout.container.startswith("DICOMDIR"):
        ending = ""
    series = list(dict.fromkeys(header["SeriesInstanceUID"] for header in headers))
    result = []
    for number, header in zip(numbers, headers, strict=True):
        at = series.index(header["SeriesInstanceUID"])
        folder = {
            "folder a series": f"series {at:03d}/",
            "deep folders": f"A{at % 7}/{number % 3}/x/y/",
            "DICOMDIR beside": f"IMAGES/S{at:03d}/",
            "DICOMDIR given": f"IMAGES/S{at:03d}/",
        }.get(layout.container, "")
        result.append(f"{folder}IM{number:05d}{ending}")
    return result


def _folder(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    folder = root / "case"
    folder.mkdir()
    parents = {str(Path(name).parent) for name in files} - {"."}
    for parent in parents:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _linked(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    real = _folder(layout, files, root)
    outer = root / "outer"
    outer.mkdir()
    (outer / "link").symlink_to(real, target_is_directory=True)
    return outer


def _gzipped(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    packed = {f"{name}.gz": gzip.compress(content, 1) for name, content in files.items()}
    return _folder(layout, packed, root)


def _disc(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    folder = _folder(layout, files, root)
    (folder / "DICOMDIR").write_bytes(directory(list(files), uid(layout.seed)))
    return folder / "DICOMDIR" if layout.container == "DICOMDIR given" else folder


def _zip_bytes(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _zip(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    path = root / "case.zip"
    content = _zip_bytes(files)
    if layout.container == "zip in zip":
        content = _zip_bytes({"readme.txt": b"a portal", "inner/study.zip": content})
    path.write_bytes(content)
    return path


def _tar(layout: DicomLayout, files: Mapping[str, bytes], root: Path) -> Path:
    path = root / f"case.{layout.container}"
    with tarfile.open(path, "w:gz" if layout.container == "tar.gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


_CONTAINERS = {
    "zip": _zip,
    "zip in zip": _zip,
    "tar": _tar,
    "tar.gz": _tar,
    "gzipped files": _gzipped,
    "DICOMDIR beside": _disc,
    "DICOMDIR given": _disc,
    "linked folder": _linked,
}
