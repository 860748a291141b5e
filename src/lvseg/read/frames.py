"""Frame: one image of a series as its header describes it; stacks are built of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvseg.geometry import Plane
from lvseg.issues import Issue
from lvseg.read.rules import TIMED_RULES
from lvseg.subject import UNKNOWN, Subject

if TYPE_CHECKING:
    from lvseg.read.pixels import Instance

#: Between breath-holds the heart rate changes by a tenth; more than this is another state, or an
#: irregular rhythm.
LARGEST_RATE_SPREAD = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class FrameInfo:
    """One frame; numbers that the header does not give are None. Never a name or a birth date.

    :param frame: 1-based number within a multi-frame instance, None for a single-frame one.
    :param frame_of_reference_uid: positions of one frame of reference can be compared.
    :param acquired: date and time of acquisition as one sortable text, "" where unknown.
    :param times: name of a rule -> its value (:data:`lvseg.read.rules.TIME_RULES`); the number of
        the frame counts as instance number in a multi-frame object.
    :param pulse_sequence: how it was acquired (scanning sequence, variant, name).
    :param echo_inversion_ms: echo and inversion time, 0 where the header gives none: they are the
        same in all phases of a cine.
    :param component: "phase" for velocity and phase images, otherwise "magnitude".
    :param rejected_because: why this image can be no part of a stack, "" if it can.
    :param notes: what the header says that cannot be true (:data:`lvseg.read.headers.NOTES`).
    :param named_place: its path holds a word of the patient's name.
    :param heart_rate_bpm: beats a minute while it was acquired.
    :param subject: the person as the header states it.
    """

    study_uid: str
    series_uid: str
    series_number: int | None
    description: str
    modality: str
    sop_class_uid: str
    sop_uid: str
    frame: int | None
    frame_of_reference_uid: str
    rows: int
    columns: int
    plane: Plane | None
    times: Mapping[str, float]
    acquisition_number: int | None
    acquired: str
    pulse_sequence: tuple[str, ...]
    echo_inversion_ms: tuple[float, float]
    component: str
    slope: float
    intercept: float
    rejected_because: str
    instance: Instance
    notes: tuple[str, ...] = ()
    heart_rate_bpm: float | None = None
    named_place: bool = False
    subject: Subject = UNKNOWN

    @property
    def trigger_ms(self) -> float | None:
        """Time after the R wave, or after the first frame of its object."""
        for rule in TIMED_RULES:
            if rule in self.times:
                return self.times[rule]
        return None

    @property
    def instance_number(self) -> float:
        """Number of the image in its series; 0 where the header gives none."""
        return self.times.get("InstanceNumber", 0.0)

    @property
    def may_be_in_a_stack(self) -> bool:
        """Whether it is a magnitude MR image that has a place."""
        return self.plane is not None and self.modality == "MR" and self.component == "magnitude"

    def placed(self) -> Plane:
        """The plane of a frame that is part of a stack."""
        if self.plane is None:
            raise ValueError("a frame without plane is in no stack")
        return self.plane


def canonical(frame: FrameInfo) -> tuple[str, int, float, float, tuple[float, ...]]:
    """A sort key that does not depend on file names or the order of reading."""
    origin = frame.plane.origin_mm if frame.plane else ()
    return (frame.sop_uid, frame.frame or 0, frame.instance_number, frame.trigger_ms or 0.0, origin)


def moment(frames: Sequence[FrameInfo]) -> tuple[str, int, int, float]:
    """When frames were acquired, as far as their headers tell, as a sort key."""
    return (
        max(frame.acquired for frame in frames),
        max(frame.acquisition_number or 0 for frame in frames),
        max(frame.series_number or 0 for frame in frames),
        max(frame.instance_number for frame in frames),
    )


def recency(frames: Sequence[FrameInfo]) -> tuple[str, int, int, float, str]:
    """A sort key that puts the later acquisition last."""
    return (*moment(frames), max(frame.series_uid for frame in frames))


def time_values(frames: Sequence[FrameInfo], rule: str) -> list[float] | None:
    """What orders the phases under a rule, one value a frame; None if a frame has none."""
    values = [frame.times[rule] for frame in frames if rule in frame.times]
    return values if len(values) == len(frames) else None


def heart_rate(phases: Sequence[Sequence[FrameInfo]]) -> tuple[float | None, tuple[Issue, ...]]:
    """The median heart rate of the frames ``[T][Z]`` that state one, in beats a minute.

    None if no frame does. An issue if the medians of the slices, which were acquired in different
    breath-holds, differ by more than a fifth of the median: the slices then show different beats.
    """
    slices = [
        [frame.heart_rate_bpm for frame in frames if frame.heart_rate_bpm is not None]
        for frames in zip(*phases, strict=True)
    ]
    known = [rates for rates in slices if rates]
    if not known:
        return None, ()
    median = float(np.median(np.concatenate(known)))
    each = [float(np.median(rates)) for rates in known]
    if max(each) - min(each) <= LARGEST_RATE_SPREAD * median:
        return median, ()
    text = (
        f"the heart rate differs between slices, from {min(each):.0f} to {max(each):.0f} beats a "
        "minute: phases of one number may not show the same moment"
    )
    return median, (Issue("heart-rate-varies", "warning", text),)
