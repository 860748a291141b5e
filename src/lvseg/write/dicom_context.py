"""Shared parts of DICOM results: equipment, algorithm and references to the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import highdicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lvseg.cine import Cine, InstanceRef
from lvseg.labels import LABELS, Label
from lvseg.modelcard import ModelCard
from lvseg.version import __version__
from lvseg.write.dicom_header import CONTROL, text_of
from lvseg.write.dicom_object import attributes, deterministic_uid


def code_of(label: Label) -> Code:
    """The code of a label, as pydicom has codes."""
    code = LABELS[label].code
    if code is None:
        raise ValueError(f"expected a label with a code, found {label.name}")
    return Code(code.value, code.scheme, code.meaning)


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
    return highdicom.AlgorithmIdentificationSequence(
        name=_clipped(card.name) if card else "lvseg",
        family=codes.cid7162.ArtificialIntelligence,
        version=_clipped(f"{card.version} (lvseg {__version__})") if card else __version__,
        source="lvseg",
    )


def _clipped(text: str) -> str:
    return CONTROL.sub(" ", text).replace("\\", "/").strip()[:64]


def sop_reference(instance: InstanceRef, *, frame: bool = False) -> Dataset:
    """Refer to a source object (PS3.3 table 10-11), verbatim; ``frame`` adds the frame number."""
    return attributes(
        ReferencedSOPClassUID=instance.sop_class_uid,
        ReferencedSOPInstanceUID=instance.sop_instance_uid,
        ReferencedFrameNumber=instance.frame if frame else None,
    )


def referenced_series(
    instances: Iterable[InstanceRef], source_headers: Mapping[str, Dataset], cine: Cine
) -> list[Dataset]:
    """Items of the Referenced Series Sequence (PS3.3 C.12.2), each object once, in order."""
    by_series: dict[str, dict[str, InstanceRef]] = {}
    study = cine.source.study_uid or ""
    for instance in instances:
        if not instance.sop_instance_uid:
            continue
        header = source_headers.get(instance.sop_instance_uid)
        series = "" if header is None else text_of(header, "SeriesInstanceUID")
        series = series or cine.source.series_uid or deterministic_uid("series", study)
        by_series.setdefault(series, {}).setdefault(instance.sop_instance_uid, instance)
    return [
        attributes(
            SeriesInstanceUID=series,
            ReferencedInstanceSequence=[sop_reference(item) for item in members.values()],
        )
        for series, members in by_series.items()
    ]
