"""``.seg.nrrd``: what another reader finds in ours, and what we read of files made by others."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio
from mask_maker import cavity_alone

from lvseg.bounds import USUAL
from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, LimitError, ReadError
from lvseg.geometry import Grid
from lvseg.labels import LABELS, Label
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import assess
from lvseg.read import read_mask
from lvseg.results import StudyResult
from lvseg.write import write_label_description, write_mask, write_seg_nrrd

SMALL = PhantomOptions(
    phases=4, slices=5, rows=72, columns=64, pixel_spacing_mm=(2.3, 2.1), slices_above_base=1
)


@pytest.fixture(scope="module")
def heart() -> tuple[Cine, Mask]:
    cine, mask, _ = beating_ventricle(SMALL)
    return cine, mask


def written(cine: Cine, mask: Mask, folder: Path) -> tuple[StudyResult, Path]:
    result = assess(cine, mask)
    path = folder / "segmentation.seg.nrrd"
    assert write_seg_nrrd(result, path) == ()
    return result, path


def test_slicerio_finds_names_colours_codes_and_pixels(
    heart: tuple[Cine, Mask], tmp_path: Path
) -> None:
    cine, mask = heart
    result, path = written(cine, mask, tmp_path)
    phases = result.measurements.phases
    found = slicerio.read_segmentation(str(path))
    assert found["voxels"].shape == (2, 64, 72, 5)  # layer, column, row, slice
    assert [each["name"] for each in found["segments"]] == [
        "left ventricle cavity, end-diastole",
        "left ventricle myocardium, end-diastole",
        "left ventricle cavity, end-systole",
        "left ventricle myocardium, end-systole",
    ]
    moments = (phases.end_diastole, phases.end_systole)
    for number, each in enumerate(found["segments"]):
        label = list(Label)[1:][number % 2]
        code = LABELS[label].code
        assert code is not None
        assert each["terminology"]["type"] == [code.scheme, code.value, code.meaning]
        colour = tuple(round(255 * channel) for channel in each["color"])
        assert colour == LABELS[label].colour
        inside = found["voxels"][each["layer"]] == each["labelValue"]
        expected = mask.of(label)[moments[number // 2]]
        np.testing.assert_array_equal(inside.transpose(2, 1, 0), expected)


def test_a_mask_of_one_label_and_one_phase_keeps_its_name(
    heart: tuple[Cine, Mask], tmp_path: Path
) -> None:
    cine, mask = heart
    one = replace(cavity_alone(mask), labels=cavity_alone(mask).labels[:1], phases=(0,))
    first = replace(cine, frames=cine.frames[:1], times_ms=None)
    _, path = written(first, one, tmp_path)
    found = slicerio.read_segmentation(str(path))
    assert found["voxels"].shape == (64, 72, 5)
    (segment,) = found["segments"]
    assert segment["name"] == "left ventricle cavity"
    assert segment["terminology"]["type"][1] == "277066005"


def test_it_lies_where_the_nifti_lies(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    _, path = written(cine, mask, tmp_path)
    write_mask(mask, tmp_path / "mask.nii.gz", cine.source)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ slicerio.read_segmentation(str(path))["ijkToLPS"]
    np.testing.assert_allclose(ras, nib.load(tmp_path / "mask.nii.gz").affine, atol=1e-3)


def test_equal_masks_give_equal_bytes(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    _, first = written(cine, mask, tmp_path / "a")
    _, second = written(cine, mask, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_what_we_wrote_comes_back_with_its_phases(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    result, path = written(cine, mask, tmp_path)
    phases = result.measurements.phases
    read = read_mask(path, like=cine)
    assert read.phases == tuple(sorted((phases.end_diastole, phases.end_systole)))
    np.testing.assert_array_equal(read.labels, mask.labels[list(read.phases)])
    assert assess(cine, read).measurements.ef_percent == result.measurements.ef_percent
    shorter = replace(cine, frames=cine.frames[:1], times_ms=None)
    with pytest.raises(GeometryMismatchError, match="phase"):
        read_mask(path, like=shorter)


def test_without_a_place_no_file_is_written(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    grid = Grid.of(mask.labels, pixel_spacing_mm=(2.3, 2.1))
    result = assess(replace(cine, grid=grid), replace(mask, grid=grid))
    (issue,) = write_seg_nrrd(result, tmp_path / "segmentation.seg.nrrd")
    assert issue.code == "no-place"
    assert list(tmp_path.iterdir()) == []


def test_an_uneven_stack_is_written_with_its_best_fit(
    heart: tuple[Cine, Mask], tmp_path: Path
) -> None:
    cine, mask = heart
    planes = list(cine.planes or ())
    planes[-1] = replace(planes[-1], origin_mm=tuple(v + 4 for v in planes[-1].origin_mm))
    grid = Grid.of(mask.labels, planes=tuple(planes))
    result = assess(replace(cine, grid=grid), replace(mask, grid=grid))
    (issue,) = write_seg_nrrd(result, tmp_path / "segmentation.seg.nrrd")
    assert issue.code == "irregular-affine"


# A file as Slicer writes it: other types, cropped, RAS, no tag of ours


def slicer_file(path: Path, **changes: str) -> Path:
    """3 x 4 x 2 voxels (column, row, slice): segment 1 has the value 5, segment 2 the value 7."""
    fields = {
        "type": "short",
        "dimension": "3",
        "space": "right-anterior-superior",
        "sizes": "3 4 2",
        "space directions": "(-2,0,0) (0,-3,0) (0,0,8)",
        "kinds": "domain domain domain",
        "endian": "big",
        "encoding": "gzip",
        "space origin": "(10,20,30)",
        "Segment0_ID": "Segment_1",
        "Segment0_LabelValue": "5",
        "Segment0_Layer": "0",
        "Segment0_Name": "LV blood pool",
        "Segment1_LabelValue": "7",
        "Segment1_Layer": "0",
        "Segment1_Name": "something else",
    } | changes
    values = np.zeros((2, 4, 3), ">i2")
    values[0, 1, 2], values[1, 3, 0] = 5, 7
    lines = [
        f"{name}:={value}" if name.startswith("Seg") else f"{name}: {value}"
        for name, value in fields.items()
        if value
    ]
    packed = gzip.compress(values.tobytes())
    body = packed if fields["encoding"] == "gzip" else values.tobytes()
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + body)
    return path


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_a_file_of_slicer_is_read(tmp_path: Path, encoding: str) -> None:
    mask = read_mask(slicer_file(tmp_path / "a.seg.nrrd", encoding=encoding))
    assert mask.labels.shape == (1, 2, 4, 3)
    assert np.argwhere(mask.labels).tolist() == [[0, 0, 1, 2]]
    assert mask.planes is not None
    # (-2, -3, 8) mm in RAS is (2, 3, 8) in LPS
    assert mask.planes[0].origin_mm == (-10.0, -20.0, 30.0)
    assert mask.pixel_spacing_mm == (3.0, 2.0)
    assert mask.slice_spacing_mm == pytest.approx(8.0)


def test_a_code_goes_before_a_name(tmp_path: Path) -> None:
    terms = "x~SCT^123037004^Anatomical Structure~SCT^277066005^Cavity~^^~y~^^~^^"
    path = slicer_file(tmp_path / "a.seg.nrrd", Segment1_Tags=f"A:b|TerminologyEntry:{terms}|")
    assert np.argwhere(read_mask(path).labels).tolist() == [[0, 1, 3, 0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "float"},
        {"sizes": "3 4"},
        {"sizes": "3 4 99999999999"},
        {"sizes": "3 4 3"},
        {"space": "scanner-xyz"},
        {"space origin": ""},
        {"space directions": "(-2,1,0) (0,-3,0) (0,0,8)"},
        {"encoding": "bzip2"},
        {"data file": "/etc/passwd"},
        {"Segment0_Name": "RV", "Segment1_Name": "atrium"},
        {"Segment0_Tags": "lvseg.phase:0|"},
    ],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ReadError, match=r"expected.*a\.seg\.nrrd"):
        read_mask(slicer_file(tmp_path / "a.seg.nrrd", **changes))


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = slicer_file(tmp_path / "a.seg.nrrd")
    for kept in (30, 200, len(path.read_bytes()) - 9):
        (tmp_path / "cut.seg.nrrd").write_bytes(path.read_bytes()[:kept])
        with pytest.raises(ReadError, match="expected"):
            read_mask(tmp_path / "cut.seg.nrrd")


def test_a_file_larger_than_the_limits_is_refused_by_their_name(tmp_path: Path) -> None:
    path = slicer_file(tmp_path / "a.seg.nrrd")  # 24 pixels of two bytes
    for name, most in (("pixels", 24), ("file_bytes", 2000)):
        read_mask(path, limits=replace(USUAL, **{name: most}))
    for name, sizes in (("pixels", "3 4 2"), ("file_bytes", "3 4 99")):
        with pytest.raises(LimitError, match=name):
            read_mask(
                slicer_file(path, sizes=sizes), limits=replace(USUAL, pixels=23, file_bytes=2000)
            )


def test_a_packed_file_with_more_than_it_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"expected.*a\.seg\.nrrd"):
        read_mask(slicer_file(tmp_path / "a.seg.nrrd", sizes="3 4 1"))


def test_the_label_description_names_every_label(tmp_path: Path) -> None:
    write_label_description(tmp_path / "segmentation.label")
    lines = (tmp_path / "segmentation.label").read_text("ascii").splitlines()
    rows = [line.split(maxsplit=7) for line in lines if not line.startswith("#")]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    for row, info in zip(rows[1:], list(LABELS.values())[1:], strict=True):
        assert tuple(map(int, row[1:4])) == info.colour
        assert row[4:7] == ["1", "1", "1"]
        assert row[7] == f'"{info.name}"'
    assert rows[0][4:7] == ["0", "0", "0"]
