"""Data sets: folders made of raw data, volumes of reference contours, audit of a folder."""

from __future__ import annotations

from lvseg.datasets.audit import Audit, check
from lvseg.datasets.folder import PrepareReport
from lvseg.datasets.images import prepare_images
from lvseg.datasets.reference_contours import EmptyFrame, ReferenceVolumes, reference_volumes
from lvseg.datasets.sunnybrook import prepare_sunnybrook

__all__ = [
    "Audit",
    "EmptyFrame",
    "PrepareReport",
    "ReferenceVolumes",
    "check",
    "prepare_images",
    "prepare_sunnybrook",
    "reference_volumes",
]
