"""Facts of the Sunnybrook set: its licence, limits and masks; identifiers and sets of its patients.

Facts of the distribution (Radau et al., The MIDAS Journal 2009; Cardiac Atlas Project). Each
patient has a name in the contour files (``SC-HF-I-01``) and one in the DICOM files
(``SCD0000101``).
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from lvseg.manifest import DatasetFacts

#: The public PNG pairs.
PAIRS = DatasetFacts(
    name="Sunnybrook Cardiac Data",
    licence="CC0-1.0",
    citation="Radau P, Lu Y, Connelly K, Paul G, Dick AJ, Wright GA. Evaluation Framework for "
    "Algorithms Segmenting Short Axis Cardiac MRI. The MIDAS Journal, 2009.",
    centre="Sunnybrook Health Sciences Centre, Toronto",
    limits=(
        "One centre's scanner and one expert's endocardial contours at end-diastole and "
        "end-systole.",
        "Reference masks include the contour line, about half a pixel on each side, so areas come "
        "out slightly large.",
        "Frames without a cavity (above the base, below the apex) come from few patients.",
        "No late enhancement, black blood, long-axis views, children or congenital disease.",
    ),
    outline_rule="polygon filled with its outline, coordinates cut to whole pixels "
    "(OpenCV fillPoly)",
)
#: Made here from the official contours: the line is not part of these masks.
OFFICIAL = replace(
    PAIRS,
    limits=tuple(limit for limit in PAIRS.limits if "contour line" not in limit),
    outline_rule="pixel inside where at least half of it lies in the polygon",
)

_SPELLING = re.compile(r"^SC-(HF-NI|HF-I|HYP|N)-(\d{1,2})$", re.IGNORECASE)


class SunnybrookPatient(NamedTuple):
    """One row of the table."""

    scd_id: str
    official_set: str


def canonical_id(name: str) -> str | None:
    """The patient id with two digits, or None for anything else.

    >>> canonical_id("SC-HF-I-1")
    'SC-HF-I-01'
    """
    match = _SPELLING.match(name.strip())
    return f"SC-{match.group(1).upper()}-{int(match.group(2)):02d}" if match else None


PATIENTS = MappingProxyType(
    {
        "SC-HF-I-01": SunnybrookPatient("SCD0000101", "training"),
        "SC-HF-I-02": SunnybrookPatient("SCD0000201", "training"),
        "SC-HF-I-04": SunnybrookPatient("SCD0000301", "training"),
        "SC-HF-I-05": SunnybrookPatient("SCD0000401", "validation"),
        "SC-HF-I-06": SunnybrookPatient("SCD0000501", "validation"),
        "SC-HF-I-07": SunnybrookPatient("SCD0000601", "validation"),
        "SC-HF-I-08": SunnybrookPatient("SCD0000701", "validation"),
        "SC-HF-I-09": SunnybrookPatient("SCD0000801", "online"),
        "SC-HF-I-10": SunnybrookPatient("SCD0000901", "online"),
        "SC-HF-I-11": SunnybrookPatient("SCD0001001", "online"),
        "SC-HF-I-12": SunnybrookPatient("SCD0001101", "online"),
        "SC-HF-I-40": SunnybrookPatient("SCD0001201", "training"),
        "SC-HF-NI-03": SunnybrookPatient("SCD0001301", "training"),
        "SC-HF-NI-04": SunnybrookPatient("SCD0001401", "training"),
        "SC-HF-NI-07": SunnybrookPatient("SCD0001501", "validation"),
        "SC-HF-NI-11": SunnybrookPatient("SCD0001601", "validation"),
        "SC-HF-NI-12": SunnybrookPatient("SCD0001701", "online"),
        "SC-HF-NI-13": SunnybrookPatient("SCD0001801", "online"),
        "SC-HF-NI-14": SunnybrookPatient("SCD0001901", "online"),
        "SC-HF-NI-15": SunnybrookPatient("SCD0002001", "online"),
        "SC-HF-NI-31": SunnybrookPatient("SCD0002101", "validation"),
        "SC-HF-NI-33": SunnybrookPatient("SCD0002201", "validation"),
        "SC-HF-NI-34": SunnybrookPatient("SCD0002301", "training"),
        "SC-HF-NI-36": SunnybrookPatient("SCD0002401", "training"),
        "SC-HYP-01": SunnybrookPatient("SCD0002501", "training"),
        "SC-HYP-03": SunnybrookPatient("SCD0002601", "training"),
        "SC-HYP-06": SunnybrookPatient("SCD0002701", "validation"),
        "SC-HYP-07": SunnybrookPatient("SCD0002801", "validation"),
        "SC-HYP-08": SunnybrookPatient("SCD0002901", "validation"),
        "SC-HYP-09": SunnybrookPatient("SCD0003001", "online"),
        "SC-HYP-10": SunnybrookPatient("SCD0003101", "online"),
        "SC-HYP-11": SunnybrookPatient("SCD0003201", "online"),
        "SC-HYP-12": SunnybrookPatient("SCD0003301", "online"),
        "SC-HYP-37": SunnybrookPatient("SCD0003401", "validation"),
        "SC-HYP-38": SunnybrookPatient("SCD0003501", "training"),
        "SC-HYP-40": SunnybrookPatient("SCD0003601", "training"),
        "SC-N-02": SunnybrookPatient("SCD0003701", "training"),
        "SC-N-03": SunnybrookPatient("SCD0003801", "training"),
        "SC-N-05": SunnybrookPatient("SCD0003901", "validation"),
        "SC-N-06": SunnybrookPatient("SCD0004001", "validation"),
        "SC-N-07": SunnybrookPatient("SCD0004101", "validation"),
        "SC-N-09": SunnybrookPatient("SCD0004201", "online"),
        "SC-N-10": SunnybrookPatient("SCD0004301", "online"),
        "SC-N-11": SunnybrookPatient("SCD0004401", "online"),
        "SC-N-40": SunnybrookPatient("SCD0004501", "training"),
    }
)
