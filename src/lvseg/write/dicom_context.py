"""What every DICOM result shares: identifiers, equipment, algorithm and references to the source.

The patient and study it belongs to come from :mod:`lvseg.write.dicom_header`, named here too.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lvseg.cine import Cine, InstanceRef
from lvseg.modelcard import ModelCard
from lvseg.version import __version__
from lvseg.write.dicom import attributes
from lvseg.write.dicom_header import lasting_uid, repaired_header, text_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "algorithm_identification",
    "equipment",
    "fresh_uid",
    "lasting_uid",
    "referenced_series",
    "repaired_header",
    "sop_reference",
]

#: What may not stand in one line of text (PS3.5 6.2).
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def fresh_uid() -> str:
    """Make a new UID from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def equipment(card: ModelCard | None) -> dict[str, Any]:
    """Name what made the result, as highdicom's constructors take it (PS3.3 C.7.5.2).

    The serial number is the start of the weights' SHA-256; "none" where no model was used.
    """
    versions: tuple[str, ...] = (f"lvseg {__version__}",)
    if card is not None:
        versions += (_clipped(f"{card.name} {card.version}"),)
    return {
        "manufacturer": "lvseg",
        "manufacturer_model_name": _clipped(card.name) if card else "lvseg",
        "software_versions": versions,
        "device_serial_number": card.sha256[:16] if card else "none",
    }


def algorithm_identification(card: ModelCard | None) -> Any:
    """Name, version and kind of the algorithm (PS3.3 table 10-19) as highdicom's sequence."""
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.AlgorithmIdentificationSequence(
        name=_clipped(card.name) if card else "lvseg",
        family=codes.cid7162.ArtificialIntelligence,
        version=_clipped(f"{card.version} (lvseg {__version__})") if card else __version__,
        source="lvseg",
    )


def _clipped(text: str) -> str:
    return _CONTROL.sub(" ", text).replace("\\", "/").strip()[:64]


def sop_reference(instance: InstanceRef, *, frame: bool = False) -> Dataset:
    """Refer to a source object (PS3.3 table 10-11), verbatim; ``frame`` adds the frame number."""
    return attributes(
        ReferencedSOPClassUID=instance.sop_class_uid,
        ReferencedSOPInstanceUID=instance.sop_instance_uid,
        ReferencedFrameNumber=instance.frame if frame else None,
    )


def referenced_series(
    instances: Iterable[InstanceRef], originals: Mapping[str, Dataset], cine: Cine
) -> list[Dataset]:
    """Items of the Referenced Series Sequence (PS3.3 C.12.2), each object once, in order."""
    by_series: dict[str, dict[str, InstanceRef]] = {}
    study = cine.source.study_uid or ""
    for instance in instances:
        if not instance.sop_instance_uid:
            continue
        header = originals.get(instance.sop_instance_uid)
        series = "" if header is None else text_of(header, "SeriesInstanceUID")
        series = series or cine.source.series_uid or lasting_uid("series", study)
        by_series.setdefault(series, {}).setdefault(instance.sop_instance_uid, instance)
    return [
        attributes(
            SeriesInstanceUID=series,
            ReferencedInstanceSequence=[sop_reference(item) for item in members.values()],
        )
        for series, members in by_series.items()
    ]
