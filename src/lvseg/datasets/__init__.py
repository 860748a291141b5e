"""Data sets: folders made of raw data, and the audit of a folder."""

from __future__ import annotations

from lvseg.datasets.audit import Audit, check
from lvseg.datasets.folder import PrepareReport
from lvseg.datasets.images import prepare_images
from lvseg.datasets.sunnybrook import prepare_sunnybrook

__all__ = ["Audit", "PrepareReport", "check", "prepare_images", "prepare_sunnybrook"]
