"""Cardiac cycle: whether the images of one place are phases of one heartbeat.

Perfusion, maps of T1 and T2, and repeats of late enhancement also hold several images of each
place. Headers tell them apart by echo and inversion time and by when each image was acquired.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from lvseg.read.frames import FrameInfo

#: A slow heart (24 beats a minute) takes this long; dynamics go on for longer.
LONGEST_CYCLE_MS = 2500.0
#: Phases of a cine are 20 to 60 ms apart, coarse ones 100 ms; dynamics a heartbeat.
LONGEST_STEP_MS = 250.0
#: The step is judged from this many phases on: of fewer, end-diastole and end-systole may be meant.
STEP_FROM_PHASES = 6
#: Two or three images of a place in nothing but the order of their numbers are repeats.
FEWEST_UNTIMED = 4
#: Times (echo, inversion) of one protocol may be rounded; those of a map differ by more.
CONTRAST_TOLERANCE_MS = (0.5, 20.0)


def why_no_phases(slices: Sequence[Sequence[FrameInfo]], rule: str) -> str:
    """Say why the images of each place cannot be phases of a heartbeat; "" if they can.

    :param slices: per position its frames in order; :param rule: what ordered them.
    """
    for index, name in enumerate(("echo", "inversion")):
        for frames in slices:
            times = [frame.echo_inversion_ms[index] for frame in frames]
            if max(times) - min(times) > CONTRAST_TOLERANCE_MS[index]:
                return f"the images of a place differ in {name} time: a map, not phases"
    most = max(map(len, slices))
    if rule == "InstanceNumber" and 1 < most < FEWEST_UNTIMED:
        return f"{most} images of each place and no times: repeats, not phases"
    return ""


def why_not_one_cycle(
    slices: Sequence[Sequence[FrameInfo]], times_ms: tuple[float, ...] | None
) -> str:
    """Say which times show that the phases are not of one heartbeat; "" if none does.

    :param slices: ``[Z][T]`` frames in order; :param times_ms: trigger time of each phase.
    """
    if times_ms is not None and _too_long(times_ms):
        return f"trigger times span {_seconds(times_ms)}"
    for frames in slices:
        moments = {frame.trigger_ms for frame in frames}
        if len(moments) == 1 and any(moments):  # 0 is what scanners write that do not know it
            return f"all images of a slice have the trigger time {moments.pop():g} ms"
        acquired = acquired_ms(frames)
        if acquired is not None and _too_long(acquired):
            return f"the images of a slice were acquired over {_seconds(acquired)}"
    return ""


def _too_long(times_ms: Sequence[float]) -> bool:
    if max(times_ms) - min(times_ms) > LONGEST_CYCLE_MS:
        return True
    steps = np.diff(sorted(times_ms))
    return len(times_ms) >= STEP_FROM_PHASES and float(np.median(steps)) > LONGEST_STEP_MS


def _seconds(times_ms: Sequence[float]) -> str:
    return f"{(max(times_ms) - min(times_ms)) / 1000:.1f} s"


def acquired_ms(frames: Sequence[FrameInfo]) -> list[float] | None:
    """When each frame was acquired, in ms of a common clock; None if one does not say."""
    values = [_moment_ms(frame.acquired) for frame in frames]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _moment_ms(text: str) -> float | None:
    """YYYYMMDDHHMMSS[.F][+ZZZZ], or HHMMSS[.F] alone (PS3.5 section 6.2, DT and TM)."""
    whole, _, fraction = text.partition("+")[0].partition("-")[0].partition(".")
    stamp = {14: whole, 6: f"20000101{whole}"}.get(len(whole), "")
    try:
        moment = datetime.strptime(stamp, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return 1000 * (moment.timestamp() + float(f"0.{fraction or 0}"))
    except ValueError:
        return None
