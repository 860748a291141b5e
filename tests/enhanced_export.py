"""A cine as one Enhanced MR multi-frame file (PS3.3 A.36.2 and C.7.6.16, C.8.13), for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedMRImageStorage

from lvseg.cine import Cine
from lvseg.phantom.dicom_export import Recording, common_attributes, record, write_dicom_cine
from lvseg.write.dicom import attributes, coded_entry, decimal_strings, save

_TYPE = ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]
_WHEN = "20000101120000"
#: Tags that the two dimensions count: position in the stack, then time after the R wave.
_IN_STACK, _FRAME_CONTENT = 0x00209057, 0x00209111
_TRIGGER_DELAY, _CARDIAC = 0x00209153, 0x00189118
_TIME_INDEX = 0x00209128


def write_enhanced_cine(cine: Cine, folder: Path, patient_id: str = "PHANTOM") -> tuple[Path, ...]:
    """Write a cine as :func:`write_dicom_cine` does, but as one file, ``enhanced.dcm``."""
    recording = record(cine, patient_id=patient_id)
    uid = recording.uid("multiframe")
    path = folder / "enhanced.dcm"
    return (save(_dataset(recording), path, EnhancedMRImageStorage, uid),)


#: enhanced or not -> the function that writes a cine so.
EXPORTS = {False: write_dicom_cine, True: write_enhanced_cine}


def _gated(recording: Recording) -> bool:
    """Whether each frame has its time in a heart cycle of known length."""
    return recording.interval_ms is not None and recording.cine.times_ms is not None


def _dataset(recording: Recording) -> Dataset:
    """One multi-frame object, frames slice by slice and phase by phase within a slice."""
    phases, slices = recording.pixels.shape[:2]
    dataset = common_attributes(recording)
    dataset.update(_image(recording))
    dataset.update(_pulse_sequence())
    organisation = recording.uid("dimensions")
    dataset.DimensionOrganizationSequence = [attributes(DimensionOrganizationUID=organisation)]
    dataset.DimensionIndexSequence = [
        _dimension(organisation, _IN_STACK, _FRAME_CONTENT, "Position in stack"),
        _dimension(organisation, _TRIGGER_DELAY, _CARDIAC, "Time after R wave")
        if _gated(recording)
        else _dimension(organisation, _TIME_INDEX, _FRAME_CONTENT, "Temporal position"),
    ]
    dataset.SharedFunctionalGroupsSequence = [_shared(recording)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _per_frame(recording, t, z) for z in range(slices) for t in range(phases)
    ]
    frames = recording.pixels.transpose(1, 0, 2, 3)
    dataset.PixelData = np.ascontiguousarray(frames, "<u2").tobytes()
    return dataset


def _image(recording: Recording) -> Dataset:
    """Enhanced MR Image (C.8.13.1), Cardiac Synchronization (C.7.6.18.1), multi-frame header."""
    phases, slices = recording.pixels.shape[:2]
    interval = recording.interval_ms if _gated(recording) else None
    dataset = attributes(
        ImageType=_TYPE,
        InstanceNumber=1,
        NumberOfFrames=phases * slices,
        AcquisitionDateTime=_WHEN,
        AcquisitionDuration=float(interval or 0.0) * slices / 1000,
        ContentQualification="RESEARCH",
        ResonantNucleus="1H",
        KSpaceFiltering="NONE",
        MagneticFieldStrength=1.5,
        ApplicableSafetyStandardAgency="IEC",
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="UNKNOWN",
        LossyImageCompression="00",
        PresentationLUTShape="IDENTITY",
        AcquisitionContextSequence=[],
    )
    if interval is not None:
        dataset.update(
            attributes(
                CardiacSynchronizationTechnique="RETROSPECTIVE",
                CardiacSignalSource="ECG",
                CardiacRRIntervalSpecified=float(interval),
                CardiacBeatRejectionTechnique="NONE",
                LowRRValue=round(interval),
                HighRRValue=round(interval),
                IntervalsAcquired=slices,
                IntervalsRejected=0,
            )
        )
    return dataset


def _pulse_sequence() -> Dataset:
    """MR Pulse Sequence (C.8.13.4) of a balanced steady-state acquisition."""
    return attributes(
        PulseSequenceName="bSSFP",
        MRAcquisitionType="2D",
        EchoPulseSequence="GRADIENT",
        MultiPlanarExcitation="NO",
        PhaseContrast="NO",
        TimeOfFlightContrast="NO",
        SteadyStatePulseSequence="FREE_PRECESSION",
        EchoPlanarPulseSequence="NO",
        SaturationRecovery="NO",
        SpectrallySelectedSuppression="NONE",
        OversamplingPhase="NONE",
        GeometryOfKSpaceTraversal="RECTILINEAR",
        RectilinearPhaseEncodeReordering="LINEAR",
        SegmentedKSpaceTraversal="PARTIAL",
        NumberOfKSpaceTrajectories=1,
    )


def _dimension(organisation: str, pointer: int, group: int, label: str) -> Dataset:
    return attributes(
        DimensionOrganizationUID=organisation,
        DimensionIndexPointer=pointer,
        FunctionalGroupPointer=group,
        DimensionDescriptionLabel=label,
    )


def _shared(recording: Recording) -> Dataset:
    """Build the groups that hold for all frames."""
    anatomy = attributes(FrameLaterality="U", AnatomicRegionSequence=[coded_entry(codes.SCT.Heart)])
    frame_type = attributes(
        FrameType=_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="UNKNOWN",
    )
    plain = attributes(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    return attributes(
        FrameAnatomySequence=[anatomy],
        MRImageFrameTypeSequence=[frame_type],
        PixelValueTransformationSequence=[plain],
        MRTimingAndRelatedParametersSequence=[_timing()],
        MRFOVGeometrySequence=[_field(recording)],
        MREchoSequence=[attributes(EffectiveEchoTime=1.7)],
        MRAveragesSequence=[attributes(NumberOfAverages=1)],
        **_preparation_and_coils(),
    )


# The groups below are required of an original image (PS3.3 table A.36-2): usual values at 1.5 T.


def _timing() -> Dataset:
    heating = attributes(
        SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.0
    )
    return attributes(
        RepetitionTime=3.4,
        FlipAngle=60,
        EchoTrainLength=1,
        RFEchoTrainLength=0,
        GradientEchoTrainLength=1,
        SpecificAbsorptionRateSequence=[heating],
        GradientOutputType="DB_DT",
        GradientOutput=0.0,
        OperatingModeSequence=[
            attributes(OperatingModeType=kind, OperatingMode="IEC_NORMAL")
            for kind in ("STATIC FIELD", "RF", "GRADIENT")
        ],
    )


def _field(recording: Recording) -> Dataset:
    rows, columns = recording.pixels.shape[2:]
    return attributes(
        InPlanePhaseEncodingDirection="ROW",
        MRAcquisitionFrequencyEncodingSteps=columns,
        MRAcquisitionPhaseEncodingStepsInPlane=rows,
        MRAcquisitionPhaseEncodingStepsOutOfPlane=1,
        PercentSampling=100,
        PercentPhaseFieldOfView=100,
    )


def _preparation_and_coils() -> dict[str, list[Dataset]]:
    modifier = attributes(
        InversionRecovery="NO",
        FlowCompensation="NONE",
        Spoiling="NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    imaging = attributes(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=63.87,
        PixelBandwidth=930,
    )
    receive = attributes(
        ReceiveCoilName="simulated",
        ReceiveCoilManufacturerName="lvseg",
        ReceiveCoilType="SURFACE",
        QuadratureReceiveCoil="NO",
    )
    transmit = attributes(
        TransmitCoilName="simulated", TransmitCoilManufacturerName="lvseg", TransmitCoilType="BODY"
    )
    return {
        "MRModifierSequence": [modifier],
        "MRImagingModifierSequence": [imaging],
        "MRReceiveCoilSequence": [receive],
        "MRTransmitCoilSequence": [transmit],
    }


def _per_frame(recording: Recording, t: int, z: int) -> Dataset:
    """Where and when one frame was taken."""
    plane, times = recording.planes[z], recording.cine.times_ms
    content = attributes(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=_WHEN,
        FrameAcquisitionDateTime=_WHEN,
        FrameAcquisitionDuration=float(recording.interval_ms or 0.0),
        StackID="1",
        InStackPositionNumber=z + 1,
        TemporalPositionIndex=t + 1,
        DimensionIndexValues=[z + 1, t + 1],
    )
    measures: dict[str, Any] = {"PixelSpacing": decimal_strings(*plane.pixel_spacing_mm)}
    if plane.thickness_mm is not None:
        measures["SliceThickness"] = decimal_strings(plane.thickness_mm)[0]
    if recording.cine.slice_spacing_mm is not None:
        measures["SpacingBetweenSlices"] = decimal_strings(recording.cine.slice_spacing_mm)[0]
    orientation = decimal_strings(*plane.column_step, *plane.row_step)
    frame = attributes(
        FrameContentSequence=[content],
        PlanePositionSequence=[attributes(ImagePositionPatient=decimal_strings(*plane.origin_mm))],
        PlaneOrientationSequence=[attributes(ImageOrientationPatient=orientation)],
        PixelMeasuresSequence=[attributes(**measures)],
    )
    if recording.interval_ms is not None and times is not None:
        cardiac = attributes(
            NominalCardiacTriggerDelayTime=float(times[t]),
            ActualCardiacTriggerDelayTime=float(times[t]),
            RRIntervalTimeNominal=float(recording.interval_ms),
        )
        frame.CardiacSynchronizationSequence = [cardiac]
    return frame
