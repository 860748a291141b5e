"""End-diastole and end-systole as two NIfTI files of one heart, told by names or by the user."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lvseg.cine import Cine
from lvseg.errors import GeometryMismatchError
from lvseg.issues import Issue
from lvseg.names import PHASES, split_phase
from lvseg.read.sources import Blob, Files

#: What ACDC ships beside its frames: "ED: 1", "ES: 12", numbers of the files ``..._frameNN``.
ACDC_INFO = "info.cfg"
_ACDC_FRAME = re.compile(r"(?P<patient>.+)_frame(?P<number>\d+)(?P<rest>.*)")
_ACDC_LINE = re.compile(r"^\s*(ED|ES)\s*:\s*(\d+)\s*$", re.MULTILINE)
#: Left of a name when the phase is taken out, these say what is in a file, not whose it is.
_PLAIN = frozenset({"", "image", "images", "img", "frame", "cine", "sa", "sax", "data"})


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of one heart.

    :param parts: of the path that names it, as :attr:`Blob.parts`.
    """

    ed: Blob
    es: Blob
    parts: tuple[str, ...]

    @property
    def label(self) -> str:
        """How a message names both."""
        return f"{self.ed.label} + {self.es.name}"


def pair_of(ed: Blob, es: Blob) -> Pair:
    """Two files that the user calls a pair, whatever their names are."""
    (first, bare), (second, other) = split_phase(ed.parts[-1]), split_phase(es.parts[-1])
    if (first, second) == PHASES and bare == other:
        return Pair(ed, es, _named(ed.parts[:-1], bare))
    return Pair(ed, es, (*ed.parts[:-1], f"{ed.parts[-1]}-{es.parts[-1]}"))


def find_pairs(blobs: Sequence[Blob], every: Sequence[Blob], files: Files) -> list[Pair]:
    """Pairs among NIfTI files: of one folder, with names equal but for the words ED and ES.

    Files ``patientNNN_frameNN`` are a pair where ACDC's ``Info.cfg`` beside them says which frame
    is which; without it nothing says so, and they stay single.

    :param every: all files of the source, among them any ``Info.cfg``.
    """
    infos = {each.parts[:-1]: each for each in every if each.name.lower() == ACDC_INFO}
    numbers = {folder: _frames(files.read(blob)) for folder, blob in infos.items()}
    held = defaultdict[tuple[tuple[str, ...], str], dict[str, list[Blob]]](
        lambda: {phase: [] for phase in PHASES}
    )
    for blob in blobs:
        folder, name = blob.parts[:-1], blob.parts[-1]
        phase, bare = split_phase(name)
        frame = _ACDC_FRAME.fullmatch(name)
        if phase is None and frame is not None:
            phase = numbers.get(folder, {}).get(int(frame["number"]))
            bare = frame["patient"] + frame["rest"]
        if phase is not None:
            held[folder, bare][phase].append(blob)
    return [
        Pair(phases["ED"][0], phases["ES"][0], _named(folder, bare))
        for (folder, bare), phases in held.items()
        if all(len(phases[phase]) == 1 for phase in PHASES)
    ]


def _named(folder: tuple[str, ...], bare: str) -> tuple[str, ...]:
    return folder if folder and bare.lower() in _PLAIN else (*folder, bare)


def _frames(content: bytes) -> dict[int, str]:
    """Number of a frame -> its phase, of an ``Info.cfg``."""
    text = content.decode("utf-8", "replace")
    return {int(number): phase for phase, number in _ACDC_LINE.findall(text)}


def joined(ed: Cine, es: Cine, *, name: str, location: str) -> Cine:
    """One cine of two phases, end-diastole first.

    :raises GeometryMismatchError: more than one phase in a file, or other grids.
    """
    places = ed.source.location, es.source.location
    for cine, place in zip((ed, es), places, strict=True):
        if cine.shape[0] != 1:
            raise GeometryMismatchError(
                f"expected one phase in each file of a pair, found {cine.shape[0]} in {place}: "
                "give such a file by itself"
            )
    grids = ed.grid, es.grid
    spacings = [(grid.pixel_spacing_mm or (0, 0), grid.slice_spacing_mm or 0) for grid in grids]
    alike = all(np.allclose(one, two, rtol=1e-3) for one, two in zip(*spacings, strict=True))
    placed = (ed.planes is None) == (es.planes is None) and ed.source.axes == es.source.axes
    if not (alike and placed and ed.grid.same_place(es.grid)):
        told = " and ".join(
            f"{_grid_text(cine)} in {place}" for cine, place in zip((ed, es), places, strict=True)
        )
        raise GeometryMismatchError(
            f"expected end-diastole and end-systole on one grid, found {told}: bring both onto one "
            "grid, or give them one by one"
        )
    ends = [place.replace("\\", "/").rsplit("/", 1)[-1] for place in places]  # no path of a machine
    text = f"two files are taken as one heart: end-diastole {ends[0]}, end-systole {ends[1]}"
    issues = dict.fromkeys((*ed.issues, *es.issues, Issue("two-files", "info", text)))
    source = replace(
        ed.source,
        name=name,
        location=location,
        shape=(*(ed.source.shape or ())[:3], 2),
        order_rule="end-diastole, then end-systole, as two files",
        phase_names=PHASES,
    )
    frames = np.concatenate([ed.frames, es.frames])
    return replace(ed, frames=frames, source=source, times_ms=None, issues=tuple(issues))


def _grid_text(cine: Cine) -> str:
    slices, rows, columns = cine.grid.shape
    size = f"{columns} x {rows} x {slices}"
    if cine.planes is not None:
        place = ", ".join(f"{value:.1f}" for value in cine.planes[0].origin_mm)
        size += f" at ({place}) mm"
    spacing = cine.pixel_spacing_mm
    return size if spacing is None else f"{size}, pixels of {spacing[0]:.3g} x {spacing[1]:.3g} mm"


def without_pairs(blobs: Sequence[Blob], pairs: Sequence[Pair]) -> list[Blob]:
    """The files that belong to no pair."""
    taken = {blob for pair in pairs for blob in (pair.ed, pair.es)}
    return [blob for blob in blobs if blob not in taken]
