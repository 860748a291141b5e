"""The plan of a batch: every study a folder of its own, found or not, and small while it waits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lvseg.batch import plan
from lvseg.batch.waiting import Waiting
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.read import byte_fingerprint, find_studies


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(40 * 36, dtype=np.uint8).reshape(40, 36)).save(path)
    return path


def test_names_are_told_apart_also_from_sources_that_hold_nothing(tmp_path: Path) -> None:
    """So a study keeps its name when a source beside it is mended."""
    sources = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "c"]
    picture(sources[1])
    before = [entry.name for entry in plan(sources, tmp_path / "out")]
    assert before == ["a-x", "b-x", "c"]
    picture(sources[0])
    assert [entry.name for entry in plan(sources, tmp_path / "out")] == before


def test_a_source_that_holds_nothing_has_a_fault_and_no_folder(tmp_path: Path) -> None:
    (entry,) = plan([tmp_path / "nowhere"], tmp_path / "out")
    assert (entry.name, entry.folder, entry.study) == ("nowhere", None, None)
    assert entry.fault is not None


def test_a_name_that_is_too_long_has_a_fault_too(tmp_path: Path) -> None:
    (entry,) = plan([tmp_path / ("n" * 300)], tmp_path / "out")
    assert entry.fault is not None
    assert entry.name == "n" * 100


def test_a_study_that_waits_is_small_and_comes_back_as_it_was(tmp_path: Path) -> None:
    options = PhantomOptions(phases=12, slices=5, rows=64, columns=60, pixel_spacing_mm=(3.0, 2.8))
    write_dicom_cine(beating_ventricle(options)[0], tmp_path / "p1")
    (ref,) = find_studies(tmp_path / "p1")
    waiting = Waiting.of(ref)
    back = waiting.ref()
    assert (back, len(back.frames)) == (ref, 60)
    assert [each.sop_uid for each in back.frames] == [each.sop_uid for each in ref.frames]
    assert byte_fingerprint(back) == byte_fingerprint(ref)
    # a frame has some 40 values; 100 bytes each are all that is left of them
    assert len(waiting._packed) < 100 * len(ref.frames)
