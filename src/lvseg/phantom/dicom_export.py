"""A simulated cine as DICOM: a series of single-frame MR images.

Equal content and seed give equal UIDs and equal bytes. The image is marked as that of a phantom
(Quality Control Image, PS3.3 C.7.6.1). Nothing of a patient is written but the given id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from lvseg.cine import Cine
from lvseg.errors import GeometryError, UsageError
from lvseg.geometry import Plane, normal
from lvseg.write.dicom import attributes, decimal_string, decimal_strings, deterministic_uid, save

_SCALED_MAXIMUM = 4095


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A cine about to be written: stored pixels uint16 [T, Z, Y, X], identity, timing.

    :param interval_ms: length of the heart cycle; None where heart rate and times are unknown.
    :param brightest: largest stored pixel, for the display window.
    """

    cine: Cine
    planes: tuple[Plane, ...]
    pixels: NDArray[np.uint16]
    patient_id: str
    identity: str
    interval_ms: float | None
    brightest: int

    def uid(self, *parts: object) -> str:
        """Make a UID for one object of this recording."""
        return deterministic_uid(*parts, namespace=self.identity)


def record(cine: Cine, *, seed: int = 0, patient_id: str = "PHANTOM") -> Recording:
    """Make a cine ready to be written, see :func:`write_dicom_cine`."""
    if cine.planes is None:
        raise GeometryError("expected a cine with planes to write as DICOM, found no geometry")
    pixels = _stored(cine.frames)
    content = hashlib.sha256(pixels.tobytes())
    timing = (cine.times_ms, cine.heart_rate_bpm)
    content.update(repr((cine.planes, *timing, pixels.shape, seed, patient_id)).encode())
    return Recording(
        cine=cine,
        planes=cine.planes,
        pixels=pixels,
        patient_id=patient_id,
        identity=content.hexdigest(),
        interval_ms=_interval_ms(cine),
        brightest=int(pixels.max()),
    )


def write_dicom_cine(
    cine: Cine, folder: Path, *, seed: int = 0, patient_id: str = "PHANTOM"
) -> tuple[Path, ...]:
    """Write a cine as MR Image objects (PS3.3 A.4), one file a frame (``0001.dcm``...).

    Files are numbered slice by slice. Whole numbers from 0 to 65535 are stored as they are, other
    frames scaled together to 0..4095.

    :param seed: enters every UID, so that two series of the same content can be told apart.
    :raises GeometryError: the cine has no planes. UsageError: a folder that cannot be written.
    """
    recording = record(cine, seed=seed, patient_id=patient_id)
    phases, slices = cine.shape[:2]
    series = common_attributes(recording)
    written = []
    for z in range(slices):
        for t in range(phases):
            number = z * phases + t + 1
            dataset = attributes()
            dataset.update(series)
            dataset.update(_frame(recording, t, z, number))
            path = folder / f"{number:04d}.dcm"
            written.append(save(dataset, path, MRImageStorage, recording.uid("image", t, z)))
    return tuple(written)


def _stored(frames: NDArray[np.float32]) -> NDArray[np.uint16]:
    low, high = float(frames.min()), float(frames.max())
    if low >= 0 and high <= 65535 and bool((frames == np.rint(frames)).all()):
        return frames.astype(np.uint16)
    scale = _SCALED_MAXIMUM / (high - low) if high > low else 0.0
    scaled: NDArray[np.uint16] = np.rint((frames - low) * scale).astype(np.uint16)
    return scaled


def _interval_ms(cine: Cine) -> float | None:
    """Length of the heart cycle; without a heart rate, simulated phases fill the cycle."""
    times_ms = cine.times_ms
    if cine.heart_rate_bpm:
        return 60000 / cine.heart_rate_bpm
    if times_ms is None or len(times_ms) < 2:
        return None
    return (times_ms[-1] - times_ms[0]) * len(times_ms) / (len(times_ms) - 1)


def common_attributes(recording: Recording) -> Dataset:
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
        SliceThickness="" if plane.thickness_mm is None else decimal_string(plane.thickness_mm),
        RepetitionTime=decimal_string(3.4),
        EchoTime=decimal_string(1.7),
        BodyPartExamined="HEART",
        QualityControlImage="YES",
        NumberOfAverages=decimal_string(1),
        ImagedNucleus="1H",
        MagneticFieldStrength=decimal_string(1.5),
        SpacingBetweenSlices=decimal_string(recording.cine.slice_spacing_mm),
        EchoTrainLength=1,
        TriggerTime=None if times is None else decimal_string(times[t]),
        NominalInterval=None if interval is None else round(interval),
        HeartRate=None if interval is None else round(60000 / interval),
        CardiacNumberOfImages=recording.pixels.shape[0],
        FlipAngle=decimal_string(60),
        AcquisitionNumber=1,
        InstanceNumber=instance,
        ImagePositionPatient=decimal_strings(*plane.origin_mm),
        ImageOrientationPatient=decimal_strings(*plane.column_step, *plane.row_step),
        TemporalPositionIdentifier=t + 1,
        NumberOfTemporalPositions=recording.pixels.shape[0],
        SliceLocation=decimal_string(float(normal(plane) @ np.asarray(plane.origin_mm))),
        PixelSpacing=decimal_strings(*plane.pixel_spacing_mm),
        SmallestImagePixelValue=int(pixels.min()),
        LargestImagePixelValue=int(pixels.max()),
        WindowCenter=decimal_string(max(recording.brightest * 0.35, 1)),
        WindowWidth=decimal_string(max(recording.brightest * 0.7, 1)),
        PixelData=np.ascontiguousarray(pixels, "<u2").tobytes(),
    )
