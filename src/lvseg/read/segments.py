"""Segments of files that name and code them (DICOM SEG, NRRD): which one is which label.

A segment is told by its code (:data:`lvseg.labels.LABELS`). Where none is coded as the cavity, it
is the segment coded as the ventricle or named so, else the only one. Others are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvseg.errors import ReadError
from lvseg.labels import LABELS, Label

#: Codes of a label besides that of our table.
_SYNONYMS: Mapping[Label, set[tuple[str, str]]] = {
    Label.LV_CAVITY: {("FMA", "FMA9466"), ("FMA", "9466")}
}
#: Codes of the whole ventricle; the older scheme SRT has other names.
_VENTRICLE = {
    *(("SCT", "87878005"), ("SRT", "T-32600"), ("SNM3", "T-32600"), ("99SDM", "T-32600")),
    *(("FMA", "FMA7101"), ("FMA", "7101")),
}
#: Words of a label that mean the ventricle, and those that mean some other part of it.
_NAMED = re.compile(r"left ventric|\b(lv|lvc|lvbp)\b")
_OTHER_PART = re.compile(r"myo|wall|epi|muscle|scar|infarct|outflow|lvot|aneurysm|thromb|mass")
#: So many segments are named in a message.
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """What a file says of a segment.

    :param code: (scheme, value) of its type; :param meaning: of the code, in words.
    """

    number: int
    name: str
    code: tuple[str, str] = ("", "")
    meaning: str = ""

    @property
    def words(self) -> str:
        """Name and meaning in small letters."""
        return re.sub(r"[\W_]+", " ", f"{self.name} {self.meaning}").lower()

    @property
    def other_part(self) -> bool:
        """Whether its words mean a part of the ventricle other than the cavity."""
        return bool(_OTHER_PART.search(self.words))


def known_segments(segments: Sequence[Segment], path: Path) -> dict[int, Label]:
    """Number of a segment -> its label, of those that we know.

    :raises ReadError: none of them is known.
    """
    known: dict[int, Label] = {}
    for label in LABELS:
        coded = [each for each in segments if each.code in _codes(label)]
        if len(coded) == 1:
            known[coded[0].number] = label
    if Label.LV_CAVITY in known.values():
        return known
    others = [each for each in segments if each.number not in known]
    ways = (
        [each for each in others if each.code in _VENTRICLE and not each.other_part],
        [each for each in others if _NAMED.search(each.words) and not each.other_part],
        segments,
    )
    for found in ways:
        if len(found) == 1:
            return {found[0].number: Label.LV_CAVITY} | known
    if known:
        return known
    named = ", ".join(f"{each.number} '{each.name.strip()[:40]}'" for each in segments[:_SHOWN])
    raise ReadError(
        f"expected one segment that is the cavity of the left ventricle, found {named or 'none'} "
        f"in {path}: code or label it so, or keep it alone"
    )


def _codes(label: Label) -> set[tuple[str, str]]:
    code = LABELS[label].code
    return _SYNONYMS.get(label, set()) | (set() if code is None else {(code.scheme, code.value)})
