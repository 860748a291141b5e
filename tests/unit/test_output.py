"""One table of output formats feeds the writers, the help, the reader and the comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.errors import UsageError
from lvseg.formats import FORMATS, MANIFEST, MEASUREMENTS, SOURCES, is_result_file, result_names
from lvseg.output import OutputOptions, chosen_formats, write_study
from lvseg.output.writers import WRITERS
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import assess
from lvseg.results import StudyResult

SMALL = PhantomOptions(phases=3, slices=4, rows=64, columns=56, pixel_spacing_mm=(3.0, 2.6))


@pytest.fixture(scope="module")
def result() -> StudyResult:
    cine, mask, _ = beating_ventricle(SMALL)
    return assess(cine, mask)


def test_every_format_has_a_writer_and_every_writer_a_format() -> None:
    assert list(WRITERS) == [each.name for each in FORMATS]


def test_no_source_gets_what_it_cannot_have() -> None:
    for each in FORMATS:
        assert each.default <= each.sources <= SOURCES
        assert bool(each.needs) == (each.sources != SOURCES)


def test_everything_written_is_known_as_a_result(tmp_path: Path, result: StudyResult) -> None:
    write_study(result, tmp_path / "study", OutputOptions(("nifti", "png", "contours", "report")))
    written = {path.name for path in (tmp_path / "study").iterdir()}
    assert written == {
        *(MEASUREMENTS, MANIFEST),
        *("segmentation.nii.gz", "overlays", "contours.json", "report.html"),
    }
    assert written <= result_names(result.cine.source.name)
    assert all(is_result_file(name) for name in written)
    assert is_result_file("slice7_mask.png")
    assert not is_result_file("slice7.png")


def test_an_old_mask_of_a_picture_does_not_stay_beside_new_numbers(tmp_path: Path) -> None:
    shown = np.linspace(0, 255, 40 * 36, dtype=np.float32).reshape(40, 36)
    cine = Cine.of_image(shown, Source("picture", "slice7"), (1.4, 1.2))
    labels = np.zeros(cine.shape, np.uint8)
    labels[..., 12:24, 10:20] = 1
    drawn = assess(cine, Mask(labels, (0,), cine.grid))
    folder = tmp_path / "slice7"
    write_study(drawn, folder)
    assert (folder / "slice7_mask.png").is_file()
    (folder / "mine_mask.png").write_bytes(b"of the user")
    write_study(drawn, folder, OutputOptions(("contours",)), overwrite=True)
    names = {path.name for path in folder.iterdir()}
    assert names == {MEASUREMENTS, MANIFEST, "contours.json", "mine_mask.png"}


def test_a_format_that_the_source_cannot_have_is_refused_and_leaves_nothing(
    tmp_path: Path, result: StudyResult
) -> None:
    with pytest.raises(UsageError, match="dicom-sr needs a DICOM source, found a array"):
        write_study(result, tmp_path / "study", OutputOptions(("dicom-sr",)))
    assert list(tmp_path.iterdir()) == []


def test_formats_are_parsed_into_the_order_of_writing() -> None:
    assert chosen_formats(None) is None
    assert chosen_formats(" report, NIfTI,report") == ("nifti", "report")
    with pytest.raises(UsageError, match="found 'pdf'"):
        chosen_formats("nifti,pdf")


def test_an_earlier_result_stays_unless_it_may_be_replaced(
    tmp_path: Path, result: StudyResult
) -> None:
    folder, options = tmp_path / "study", OutputOptions(("nifti",))
    write_study(result, folder, options)
    (folder / "notes.txt").write_text("mine")
    before = (folder / MEASUREMENTS).read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        write_study(result, folder, options)
    assert (folder / MEASUREMENTS).read_bytes() == before
    write_study(result, folder, OutputOptions(("contours",)), overwrite=True)
    names = {path.name for path in folder.iterdir()}
    assert names == {MEASUREMENTS, MANIFEST, "contours.json", "notes.txt"}
