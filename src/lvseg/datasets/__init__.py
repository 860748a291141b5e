"""Raw data to data set folders, what experts drew, and the audit of a data set folder."""

from __future__ import annotations

from lvseg.datasets.audit import Audit, check
from lvseg.datasets.experts import EmptyFrame, ExpertVolumes, expert_volumes, negative_frames
from lvseg.datasets.folder import PrepareReport
from lvseg.datasets.pictures import prepare_images
from lvseg.datasets.sunnybrook import prepare_sunnybrook

__all__ = [
    "Audit",
    "EmptyFrame",
    "ExpertVolumes",
    "PrepareReport",
    "check",
    "expert_volumes",
    "negative_frames",
    "prepare_images",
    "prepare_sunnybrook",
]
