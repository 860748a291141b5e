"""Small DICOM images for the reader tests, made with pydicom alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from lvseg.cine import Study
from lvseg.read import read_study

#: An orthonormal short-axis orientation: row cosines, column cosines (LPS).
ROW = np.array([0.8, 0.6, 0.0])
COLUMN = np.array([-0.36, 0.48, -0.8])
NORMAL = np.cross(ROW, COLUMN)  # (-0.48, 0.64, 0.6)
SPACING = (1.5, 1.25)
STEP_MM = 9.0
SIDE = 32
NAME = "Doe^Jane"


def pixels(phase: int, position: int) -> np.ndarray:
    """A frame that no other phase or position shares."""
    base = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) % 61
    return (base + 100 * phase + 7 * position).astype(np.uint16)


def image(phase: int = 0, position: int = 0, **changes: Any) -> Dataset:
    """One MR image; ``changes`` are DICOM keywords, None deletes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"1.2.3.{position + 1}.{phase + 1}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": 4,
        "Modality": "MR",
        "PatientName": NAME,
        "PatientBirthDate": "19500101",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "GR",
        "AcquisitionNumber": 1,
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "100000",
        "InstanceNumber": position * 100 + phase + 1,
        "TriggerTime": 10.0 + 40.0 * phase + 0.5 * position,
        "ImagePositionPatient": [float(v) for v in NORMAL * STEP_MM * position + [5, 6, 7]],
        "ImageOrientationPatient": [float(v) for v in (*ROW, *COLUMN)],
        "SliceLocation": -3.0 * position,
        "PixelSpacing": list(SPACING),
        "SliceThickness": 8.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    data = changes.pop("pixels", pixels(phase, position))
    values |= {"Rows": data.shape[0], "Columns": data.shape[1]} | changes
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.add_new("PixelData", "OW", data.tobytes())
    return dataset


def stack(slices: int = 3, phases: int = 4, **changes: Any) -> list[Dataset]:
    """A cine stack, slice after slice."""
    return [image(t, z, **dict(changes)) for z in range(slices) for t in range(phases)]


def expected(slices: int = 3, phases: int = 4) -> np.ndarray:
    """The frames [T, Z, Y, X] of :func:`stack`."""
    rows = [[pixels(t, z) for z in range(slices)] for t in range(phases)]
    return np.array(rows, np.float32)


def long_axis(phases: int = 4, angle: float = 0.0, **changes: Any) -> list[Dataset]:
    """One plane that holds the axis of the stack, turned about it by an angle in degrees."""
    turn = np.radians(angle)
    along = np.cos(turn) * ROW + np.sin(turn) * COLUMN
    cosines = [float(v) for v in (*along, *NORMAL)]
    uid = f"1.2.3.8{int(angle)}"
    return [
        image(
            t,
            **{
                "SOPInstanceUID": f"{uid}.{t + 1}",
                "SeriesInstanceUID": uid,
                "ImageOrientationPatient": cosines,
                **changes,
            },
        )
        for t in range(phases)
    ]


def computed_tomography(images: int = 3) -> list[Dataset]:
    """A CT series of the same study."""
    return [
        image(
            0,
            z,
            SOPClassUID=CTImageStorage,
            Modality="CT",
            SeriesInstanceUID="1.2.3.9",
            SOPInstanceUID=f"1.2.3.9.{z + 1}",
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            TriggerTime=None,
        )
        for z in range(images)
    ]


def to_bytes(dataset: Dataset, *, preamble: bool = True) -> bytes:
    """The file that holds a dataset."""
    buffer = io.BytesIO()
    implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    if preamble:
        dataset.save_as(buffer, enforce_file_format=True)
    else:
        del dataset.file_meta
        dataset.save_as(buffer, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def save(datasets: Sequence[Dataset], folder: Path, prefix: str = "im") -> Path:
    """Write datasets as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        (folder / f"{prefix}{number:04d}.dcm").write_bytes(to_bytes(dataset))
    return folder


def study_of(datasets: Sequence[Dataset]) -> Study:
    """What is read from files of datasets."""
    with TemporaryDirectory() as folder:
        return read_study(save(datasets, Path(folder)))


def enhanced(slices: int = 3, phases: int = 4, *, trigger: bool = True) -> Dataset:
    """One Enhanced MR object, its frames in reverse order of time."""
    order = [(t, z) for z in range(slices) for t in reversed(range(phases))]
    frames = np.stack([pixels(t, z) for t, z in order])
    dataset = image(
        SOPClassUID=EnhancedMRImageStorage,
        SOPInstanceUID="1.2.3.77",
        pixels=frames[0],
        ImageType=["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"],
        NumberOfFrames=len(order),
    )
    for keyword in ("TriggerTime", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)
    for keyword in ("PixelSpacing", "SliceThickness", "SliceLocation", "ScanningSequence"):
        delattr(dataset, keyword)
    dataset.SharedFunctionalGroupsSequence = Items([_shared()])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_own(t, z, trigger=trigger) for t, z in order]
    )
    dataset.PixelData = frames.tobytes()
    return dataset


def _item(**values: Any) -> Items:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Items([item])


def _shared() -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=list(SPACING), SliceThickness=8.0)
    shared.PlaneOrientationSequence = _item(
        ImageOrientationPatient=[float(v) for v in (*ROW, *COLUMN)]
    )
    shared.MRImageFrameTypeSequence = _item(FrameType=["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"])
    return shared


def _own(phase: int, position: int, *, trigger: bool) -> Dataset:
    own = Dataset()
    own.PlanePositionSequence = _item(
        ImagePositionPatient=[float(v) for v in NORMAL * STEP_MM * position + [5, 6, 7]]
    )
    own.FrameContentSequence = _item(
        TemporalPositionIndex=phase + 1, DimensionIndexValues=[position + 1, phase + 1]
    )
    if trigger:
        own.CardiacSynchronizationSequence = _item(NominalCardiacTriggerDelayTime=40.0 * phase)
    own.PixelValueTransformationSequence = _item(
        RescaleSlope=2.0, RescaleIntercept=float(10 * position), RescaleType="US"
    )
    return own
