"""A simulated cine as DICOM: a classic MR series, or one Enhanced MR multi-frame file.

Equal content and seed give equal UIDs and equal bytes. The image is marked as that of a phantom
(Quality Control Image, PS3.3 C.7.6.1). Nothing of a patient is written but the given id.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lvseg.atomic import atomic_write
from lvseg.cine import Cine
from lvseg.errors import GeometryError, UsageError
from lvseg.geometry import Plane, normal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Recording", "attributes", "common", "number", "numbers", "save", "write_dicom_cine"]

#: Storage SOP classes (PS3.4 B.5).
_MR_IMAGE, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
#: Our implementation class: a UUID-derived UID (PS3.5 B.2), made once and never changed.
_IMPLEMENTATION = "2.25.262341094286414210731583962146853091862"
_SCALED_MAXIMUM = 4095


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What both writers need: the cine, stored pixels uint16 [T, Z, Y, X], identity.

    :param interval_ms: length of the heart cycle; None where heart rate and times are unknown.
    :param spacing_mm: between slice centres; None where the stack has no single one.
    :param brightest: largest stored pixel, for the display window.
    """

    cine: Cine
    planes: tuple[Plane, ...]
    pixels: NDArray[np.uint16]
    patient_id: str
    identity: str
    interval_ms: float | None
    spacing_mm: float | None
    brightest: int

    @property
    def gated(self) -> bool:
        """Whether each frame has its time in a heart cycle of known length."""
        return self.interval_ms is not None and self.cine.times_ms is not None

    def uid(self, *parts: object) -> str:
        """Make a UID for one object of this recording, from a UUID (PS3.5 B.2)."""
        text = "/".join([self.identity, *map(str, parts)])
        digest = hashlib.sha256(text.encode()).digest()[:16]
        return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def write_dicom_cine(
    cine: Cine, folder: Path, *, enhanced: bool = False, seed: int = 0, patient_id: str = "PHANTOM"
) -> tuple[Path, ...]:
    """Write a cine as DICOM, one file per frame (``0001.dcm``...) or one Enhanced MR file.

    Classic: MR Image IOD, PS3.3 A.4. Enhanced: Enhanced MR Image IOD, PS3.3 A.36.2. Files are
    numbered slice by slice. Whole numbers from 0 to 65535 are stored as they are, other frames
    scaled together to 0..4095.

    :param seed: enters every UID, so that two series of the same content can be told apart.
    :raises GeometryError: the cine has no planes. UsageError: a folder that cannot be written.
    """
    if cine.planes is None:
        raise GeometryError("expected a cine with planes to write as DICOM, found no geometry")
    pixels = _stored(cine.frames)
    recording = Recording(
        cine=cine,
        planes=cine.planes,
        pixels=pixels,
        patient_id=patient_id,
        identity=_identity(cine, pixels, seed, patient_id),
        interval_ms=_interval_ms(cine),
        spacing_mm=cine.slice_spacing_mm,
        brightest=int(pixels.max()),
    )
    if enhanced:
        from lvseg.write.enhanced import enhanced_dataset

        dataset = enhanced_dataset(recording)
        return (save(dataset, folder / "enhanced.dcm", _ENHANCED_MR, recording.uid("multiframe")),)
    phases, slices = cine.shape[:2]
    series = common(recording)
    written = []
    for z in range(slices):
        for t in range(phases):
            number_ = z * phases + t + 1
            dataset = attributes()
            dataset.update(series)
            dataset.update(_frame(recording, t, z, number_))
            path = folder / f"{number_:04d}.dcm"
            written.append(save(dataset, path, _MR_IMAGE, recording.uid("image", t, z)))
    return tuple(written)


def _stored(frames: NDArray[np.float32]) -> NDArray[np.uint16]:
    low, high = float(frames.min()), float(frames.max())
    if low >= 0 and high <= 65535 and bool((frames == np.rint(frames)).all()):
        return frames.astype(np.uint16)
    scale = _SCALED_MAXIMUM / (high - low) if high > low else 0.0
    scaled: NDArray[np.uint16] = np.rint((frames - low) * scale).astype(np.uint16)
    return scaled


def _identity(cine: Cine, pixels: NDArray[np.uint16], seed: int, patient_id: str) -> str:
    content = hashlib.sha256(pixels.tobytes())
    timing = (cine.times_ms, cine.heart_rate_bpm)
    content.update(repr((cine.planes, *timing, pixels.shape, seed, patient_id)).encode())
    return content.hexdigest()


def _interval_ms(cine: Cine) -> float | None:
    """Length of the heart cycle; without a heart rate, simulated phases fill the cycle."""
    times_ms = cine.times_ms
    if cine.heart_rate_bpm:
        return 60000 / cine.heart_rate_bpm
    if times_ms is None or len(times_ms) < 2:
        return None
    return (times_ms[-1] - times_ms[0]) * len(times_ms) / (len(times_ms) - 1)


def attributes(**values: Any) -> Dataset:
    """Build a dataset from keywords; a None value leaves the attribute out, "" leaves it empty."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def number(value: float) -> Any:
    """Format a decimal string of at most 16 characters (PS3.5 6.2, VR DS)."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value) + 0.0, auto_format=True)


def numbers(*values: float) -> list[Any]:
    """Several decimal strings."""
    return [number(value) for value in values]


def save(dataset: Dataset, path: Path, sop_class: str, sop_instance: str) -> Path:
    """Write one file with its meta information (PS3.10 section 7.1), explicit little endian."""
    from pydicom.dataset import FileMetaDataset

    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_instance
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_instance
    meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "LVSEG"
    dataset.file_meta = meta
    with atomic_write(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path


def common(recording: Recording) -> Dataset:
    """Patient, study, series, frame of reference, equipment and pixel format."""
    rows, columns = recording.pixels.shape[2:]
    if len(recording.patient_id) > 64 or "\\" in recording.patient_id:
        raise UsageError("expected a patient id of at most 64 characters without a backslash")
    return attributes(
        SpecificCharacterSet="ISO_IR 192",
        StudyDate="20000101",
        ContentDate="20000101",
        StudyTime="120000",
        ContentTime="120000",
        AccessionNumber="",
        Modality="MR",
        Manufacturer="lvseg",
        ReferringPhysicianName="",
        StudyDescription="Simulated heart",
        SeriesDescription="Simulated cine",
        ManufacturerModelName="phantom",
        PatientName="",
        PatientID=recording.patient_id,
        PatientBirthDate="",
        PatientSex="",
        DeviceSerialNumber="0",
        SoftwareVersions="1",
        PatientPosition="HFS",
        StudyInstanceUID=recording.uid("study"),
        SeriesInstanceUID=recording.uid("series"),
        StudyID="1",
        SeriesNumber=1,
        FrameOfReferenceUID=recording.uid("frame of reference"),
        PositionReferenceIndicator="",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=rows,
        Columns=columns,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        BurnedInAnnotation="NO",
    )


def _frame(recording: Recording, t: int, z: int, instance: int) -> Dataset:
    """Build what differs between the images of the classic series, and what only they have."""
    plane, times = recording.planes[z], recording.cine.times_ms
    pixels = recording.pixels[t, z]
    interval = recording.interval_ms
    return attributes(
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
        InstanceCreationDate="20000101",
        ScanningSequence="GR",
        SequenceVariant="SS",
        ScanOptions="CG" if interval else "",
        MRAcquisitionType="2D",
        SequenceName="*tfi2d1",
        SliceThickness="" if plane.thickness_mm is None else number(plane.thickness_mm),
        RepetitionTime=number(3.4),
        EchoTime=number(1.7),
        BodyPartExamined="HEART",
        QualityControlImage="YES",
        NumberOfAverages=number(1),
        ImagedNucleus="1H",
        MagneticFieldStrength=number(1.5),
        SpacingBetweenSlices=_maybe(recording.spacing_mm),
        EchoTrainLength=1,
        TriggerTime=None if times is None else number(times[t]),
        NominalInterval=None if interval is None else round(interval),
        HeartRate=None if interval is None else round(60000 / interval),
        CardiacNumberOfImages=recording.pixels.shape[0],
        FlipAngle=number(60),
        AcquisitionNumber=1,
        InstanceNumber=instance,
        ImagePositionPatient=numbers(*plane.origin_mm),
        ImageOrientationPatient=numbers(*plane.column_step, *plane.row_step),
        TemporalPositionIdentifier=t + 1,
        NumberOfTemporalPositions=recording.pixels.shape[0],
        SliceLocation=number(float(normal(plane) @ np.asarray(plane.origin_mm))),
        PixelSpacing=numbers(*plane.pixel_spacing_mm),
        SmallestImagePixelValue=int(pixels.min()),
        LargestImagePixelValue=int(pixels.max()),
        WindowCenter=number(max(recording.brightest * 0.35, 1)),
        WindowWidth=number(max(recording.brightest * 0.7, 1)),
        PixelData=np.ascontiguousarray(pixels, "<u2").tobytes(),
    )


def _maybe(value: float | None) -> Any:
    return None if value is None else number(value)
