"""Offline augmentation: moves by hand and by law, and the data set folder they make."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lvseg.errors import DatasetError, PatientLeakError, UsageError
from lvseg.manifest import (
    DatasetFacts,
    Sample,
    read_dataset_facts,
    read_manifest,
    write_dataset_facts,
)
from lvseg.reproduction import offline_augmentation
from lvseg.reproduction.offline_augmentation import (
    Move,
    OfflineOptions,
    augment,
    draw,
    image_level_split,
    move_image,
    move_mask,
    paper_counts,
)

LAW = settings(derandomize=True, deadline=None, max_examples=30)
#: Nothing is drawn.
STILL = OfflineOptions(rotation_degrees=0, horizontal_flip=False, vertical_flip=False)
RANDOM = np.random.default_rng(11)
PICTURE = RANDOM.integers(0, 256, (21, 16), dtype=np.uint8)

moves = st.builds(
    Move,
    rotation_degrees=st.floats(-180, 180),
    zoom=st.floats(0.7, 1.3),
    mirrored=st.booleans(),
    upside_down=st.booleans(),
    right=st.floats(-0.1, 0.1),
    down=st.floats(-0.1, 0.1),
)


def test_a_quarter_turn_is_anticlockwise_and_exact() -> None:
    square = PICTURE[:16]
    for fill in ("nearest", "zero"):
        for quarters in (1, 2, 3, -1):
            moved = move_image(square, Move(rotation_degrees=90.0 * quarters), fill)
            np.testing.assert_array_equal(moved, np.rot90(square, quarters))


def test_flips_are_exact() -> None:
    np.testing.assert_array_equal(move_image(PICTURE, Move(mirrored=True)), PICTURE[:, ::-1])
    np.testing.assert_array_equal(move_image(PICTURE, Move(upside_down=True)), PICTURE[::-1])


def test_flips_commute_and_undo_themselves() -> None:
    aside, over = Move(mirrored=True), Move(upside_down=True)
    one = move_image(move_image(PICTURE, aside), over)
    np.testing.assert_array_equal(one, move_image(move_image(PICTURE, over), aside))
    np.testing.assert_array_equal(one, move_image(PICTURE, Move(mirrored=True, upside_down=True)))
    np.testing.assert_array_equal(move_image(one, Move(rotation_degrees=180)), PICTURE)


def test_rotation_comes_before_the_flips() -> None:
    square = PICTURE[:16]
    moved = move_image(square, Move(rotation_degrees=90, mirrored=True))
    np.testing.assert_array_equal(moved, np.fliplr(np.rot90(square)))


def test_shifts_are_shares_of_the_sides_and_fill_says_what_comes_in() -> None:
    # 16 columns, an eighth: 2 to the right; 21 rows, two 21sts: 2 down
    moved = move_image(PICTURE, Move(right=2 / 16, down=2 / 21), "zero")
    np.testing.assert_array_equal(moved[2:, 2:], PICTURE[:-2, :-2])
    assert not moved[:2].any()
    assert not moved[:, :2].any()
    moved = move_image(PICTURE, Move(right=2 / 16))
    np.testing.assert_array_equal(moved[:, :2], PICTURE[:, [0, 0]])


def test_between_pixels_the_image_is_linear_and_the_mask_is_cut_at_a_half() -> None:
    image = np.array([[0, 100, 200, 40]], np.uint8)
    # half a pixel to the right: (0 + 0) / 2 at the border, then the means of neighbours
    assert move_image(image, Move(right=0.5 / 4)).tolist() == [[0, 50, 150, 120]]
    inside = np.array([[False, True, True, False]])
    assert move_mask(inside, Move(right=0.4 / 4)).tolist() == [[False, True, True, False]]
    assert move_mask(inside, Move(right=0.6 / 4)).tolist() == [[False, False, True, True]]


def test_zoom_grows_the_content_about_the_centre() -> None:
    inside = np.zeros((41, 32), bool)
    inside[15:26, 11:21] = True  # 11 x 10 about the centre (20, 15.5)
    grown = move_mask(inside, Move(zoom=2.0))
    assert inside.sum() == 110
    assert grown.sum() == pytest.approx(4 * 110, rel=0.06)
    rows, columns = np.nonzero(grown)
    assert (rows.mean(), columns.mean()) == (20, 15.5)


def centroid(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(picture.shape)
    return np.array([(rows * picture).sum(), (columns * picture).sum()]) / picture.sum()


@LAW
@given(moves, st.floats(-8, 8), st.floats(-6, 6))
def test_the_centroid_follows_the_move(move: Move, down: float, right: float) -> None:
    rows, columns = np.mgrid[:61, :52]
    distance = np.hypot(rows - 30 - down, columns - 25.5 - right)
    ball = np.clip(250 - 25 * distance, 0, None).astype(np.uint8)  # soft, of radius 10
    was = centroid(ball)
    # by complex numbers: x to the right and y up about the centre, turned anticlockwise
    angle = math.radians(move.rotation_degrees)
    point = complex(was[1] - 25.5, 30 - was[0]) * complex(math.cos(angle), math.sin(angle))
    point *= move.zoom
    x = -point.real if move.mirrored else point.real
    y = -point.imag if move.upside_down else point.imag
    expected = (30 - y + move.down * 61, 25.5 + x + move.right * 52)
    assert np.hypot(*(centroid(move_image(ball, move, "zero")) - expected)) < 0.1
    # a mask moves by whole pixels: up to a half on each axis, and what its own cut adds
    assert np.hypot(*(centroid(move_mask(ball >= 100, move)) - expected)) < 0.75


@LAW
@given(moves, st.sampled_from(["nearest", "zero"]))
def test_image_and_mask_move_together(move: Move, fill: str) -> None:
    rows, columns = np.mgrid[:61, :52]
    inside = (rows - 33) ** 2 + 2 * (columns - 24) ** 2 < 12**2
    image = move_image(np.where(inside, 240, 0).astype(np.uint8), move, fill)
    # white where inside, so the mask is where the image is at least half white; grey is rounded
    mask = move_mask(inside, move, fill)
    assert (image[mask] >= 120).all()
    assert (image[~mask] <= 120).all()


@LAW
@given(st.integers(0, 2**32), st.floats(0, 180), st.floats(0, 0.5), st.booleans())
def test_draws_stay_in_their_ranges(seed: int, degrees: float, share: float, flips: bool) -> None:
    options = OfflineOptions(degrees, flips, flips, share, share, share / 2)
    move = draw(options, np.random.default_rng(seed))
    assert abs(move.rotation_degrees) <= degrees
    assert abs(move.zoom - 1) <= share + 1e-12
    assert abs(move.right) <= share
    assert abs(move.down) <= share / 2
    assert flips or not (move.mirrored or move.upside_down)
    assert draw(STILL, np.random.default_rng(seed)) == Move()


def test_draws_reach_the_full_circle_and_every_flip() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw(OfflineOptions(), generator) for _ in range(400)]
    assert min(move.rotation_degrees for move in drawn) < -170
    assert max(move.rotation_degrees for move in drawn) > 170
    flips = Counter((move.mirrored, move.upside_down) for move in drawn)
    assert min(flips.values()) > 70  # four of 100 each
    assert len(flips) == 4
    assert {move.zoom for move in drawn} == {1.0}


@pytest.mark.parametrize(
    "values",
    [{"rotation_degrees": 181}, {"rotation_degrees": -1}, {"zoom": 1}, {"width_shift": -0.1}],
)
def test_ranges_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected a"):
        OfflineOptions(**values)  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Seven pictures of three patients; one mask is empty on purpose, one is of 0 and 1."""
    folder = tmp_path / "dataset"
    rows = [["file", "patient_id", "split", "phase", "pixel_spacing_mm", "empty"]]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:48, :40]
    for index in range(7):
        inside = (y - 22 - index) ** 2 + (x - 18) ** 2 < (0 if index == 3 else 49)
        image = RANDOM.integers(0, 90, inside.shape) + 120 * inside
        white = 1 if index == 5 else 255
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{index}.png")
        Image.fromarray((white * inside).astype(np.uint8)).save(folder / "masks" / f"p{index}.png")
        patient = f"artificial-{index // 3}"
        split = "training" if index < 6 else "test"
        rows.append([f"p{index}.png", patient, split, "ED", "1.25", "1" if index == 3 else ""])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("total", [7, 8, 20, 28])
def test_the_total_counts_originals_and_copies(dataset: Path, tmp_path: Path, total: int) -> None:
    report = augment(dataset, tmp_path / "out", total)
    samples = read_manifest(tmp_path / "out")
    assert len(samples) == total == report.originals + report.copies
    assert report.originals == 7
    assert len(list((tmp_path / "out" / "images").iterdir())) == total
    assert len(list((tmp_path / "out" / "masks").iterdir())) == total
    made = Counter(dict(sample.extra).get("original") for sample in samples)
    made.pop("", None)
    made.pop(None, None)
    assert sum(made.values()) == total - 7
    # dealt evenly: no original has two copies more than another
    assert max(made.values(), default=0) - min(made.get(f"p{i}.png", 0) for i in range(7)) <= 1


def test_copies_keep_patient_split_and_the_name_of_their_original(
    dataset: Path, tmp_path: Path
) -> None:
    augment(dataset, tmp_path / "out", 24)
    originals = {sample.file: sample for sample in read_manifest(dataset)}
    for sample in read_manifest(tmp_path / "out"):
        extra = dict(sample.extra)
        name = extra.pop("original")
        if not name:
            assert extra == dict(originals[sample.file].extra)
            continue
        original = originals[name]
        assert sample.file.startswith(name[:-4] + "_copy")
        assert replace(sample, file=name, extra=original.extra) == original
        assert extra == dict(original.extra)


def test_originals_are_taken_over_byte_for_byte(dataset: Path, tmp_path: Path) -> None:
    augment(dataset, tmp_path / "out", 20)
    found = contents(tmp_path / "out")
    for name, content in contents(dataset).items():
        assert name == "manifest.csv" or found[name] == content


def test_what_the_data_set_says_of_itself_is_taken_over(dataset: Path, tmp_path: Path) -> None:
    facts = DatasetFacts(name="Blobs", licence="CC0-1.0")
    write_dataset_facts(facts, dataset)
    augment(dataset, tmp_path / "more", 12)
    assert read_dataset_facts(tmp_path / "more") == facts


def test_masks_of_copies_are_binary_and_empty_only_where_the_original_is(
    dataset: Path, tmp_path: Path
) -> None:
    options = OfflineOptions(width_shift=0.6, height_shift=0.6, fill="zero")
    augment(dataset, tmp_path / "out", 60, options)
    for sample in read_manifest(tmp_path / "out"):
        original = dict(sample.extra)["original"]
        if original:
            mask = np.asarray(Image.open(tmp_path / "out" / "masks" / sample.file))
            assert set(np.unique(mask)) <= {0, 255}
            assert mask.shape == (48, 40)
            assert mask.any() == (original != "p3.png")


def test_moves_that_always_lose_the_cavity_are_refused(dataset: Path, tmp_path: Path) -> None:
    image = np.zeros((48, 40), np.uint8)
    image[0, 0] = 255  # a corner, which no turn of 45 degrees keeps in the picture
    for index in range(7):
        Image.fromarray(image).save(dataset / "masks" / f"p{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        move = Move(rotation_degrees=45)
        patch.setattr(offline_augmentation, "draw", lambda options, generator: move)
        with pytest.raises(UsageError, match="keep the cavity"):
            augment(dataset, tmp_path / "out", 8)
    assert not (tmp_path / "out").exists()


def test_without_rotation_and_flips_a_copy_has_the_bytes_of_its_original(
    dataset: Path, tmp_path: Path
) -> None:
    augment(dataset, tmp_path / "out", 14, STILL)
    found = contents(tmp_path / "out")
    for index in range(7):
        for folder in ("images", "masks"):
            copy = found[f"{folder}/p{index}_copy1.png"]
            assert copy == found[f"{folder}/p{index}.png"]


def test_one_seed_gives_the_same_bytes_and_another_seed_others(
    dataset: Path, tmp_path: Path
) -> None:
    for name, seed in (("first", 4), ("again", 4), ("other", 5)):
        augment(dataset, tmp_path / name, 21, seed=seed)
    first, again, other = (contents(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert first.keys() == other.keys()  # 7 originals, 2 copies of each
    copies = [name for name in first if "_copy" in name and name.startswith("images")]
    assert len(copies) == 14
    assert all(first[name] != other[name] for name in copies)
    assert len({first[name] for name in copies}) == 14


def test_a_larger_total_adds_copies_and_changes_none(dataset: Path, tmp_path: Path) -> None:
    augment(dataset, tmp_path / "small", 12, seed=9)
    augment(dataset, tmp_path / "large", 26, seed=9)
    small, large = contents(tmp_path / "small"), contents(tmp_path / "large")
    del small["manifest.csv"]
    assert small.items() < large.items()


def test_the_order_of_the_manifest_does_not_matter(dataset: Path, tmp_path: Path) -> None:
    augment(dataset, tmp_path / "first", 17)
    head, *lines = (dataset / "manifest.csv").read_text().splitlines()
    (dataset / "manifest.csv").write_text("\n".join([head, *lines[::-1]]) + "\n")
    augment(dataset, tmp_path / "second", 17)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def area_px(folder: Path, file: str) -> int:
    return int((np.asarray(Image.open(folder / "masks" / file)) > 0).sum())


def test_a_zoom_changes_the_pixel_spacing_and_not_the_size_in_mm(
    dataset: Path, tmp_path: Path
) -> None:
    augment(dataset, tmp_path / "out", 28, replace(STILL, zoom=0.3))
    spacings = set()
    for sample in read_manifest(tmp_path / "out"):
        original = dict(sample.extra)["original"]
        if original not in ("", "p3.png"):
            assert sample.pixel_spacing_mm is not None
            spacings.add(sample.pixel_spacing_mm)
            was = area_px(dataset, original) * 1.25**2
            found = area_px(tmp_path / "out", sample.file) * sample.pixel_spacing_mm**2
            assert found == pytest.approx(was, rel=0.1)  # of about 145 pixels
    assert len(spacings) == 18
    assert min(spacings) < 1.1
    assert max(spacings) > 1.5


def test_image_and_mask_of_a_copy_lie_on_each_other(dataset: Path, tmp_path: Path) -> None:
    augment(dataset, tmp_path / "out", 28, OfflineOptions(zoom=0.2, width_shift=0.1))
    for sample in read_manifest(tmp_path / "out"):
        image, mask = (
            np.asarray(Image.open(tmp_path / "out" / folder / sample.file)).astype(float)
            for folder in ("images", "masks")
        )
        if mask.any():
            # noise of 0 to 90 everywhere and 120 more inside
            assert image[mask > 0].mean() > 150
            assert image[mask == 0].mean() < 50


def test_only_the_splits_named_get_copies(dataset: Path, tmp_path: Path) -> None:
    report = augment(dataset, tmp_path / "out", 20, split="training")
    assert report.splits == {"test": 1, "training": 19}


def test_progress_counts_to_the_total(dataset: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    augment(dataset, tmp_path / "out", 9, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 9) for done in range(1, 10)]


def test_what_cannot_be_done_is_refused_and_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="at least the 7 originals"):
        augment(dataset, out, 6)
    with pytest.raises(UsageError, match="seed"):
        augment(dataset, out, 8, seed=-1)
    with pytest.raises(UsageError, match="another folder"):
        augment(dataset, dataset, 8, overwrite=True)
    with pytest.raises(UsageError, match="expected a split"):
        augment(dataset, out, 8, split="online")
    assert not out.exists()
    augment(dataset, out, 9)
    before = contents(out)
    with pytest.raises(UsageError, match="--overwrite"):
        augment(dataset, out, 8)
    with pytest.raises(DatasetError, match="2 copies"):
        augment(out, tmp_path / "more", 12)
    assert contents(out) == before
    assert augment(dataset, out, 8, overwrite=True).copies == 1
    assert len(read_manifest(out)) == 8


def test_a_broken_data_set_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    mask = Image.fromarray(np.zeros((40, 48), np.uint8))
    mask.save(dataset / "masks" / "p6.png")
    with pytest.raises(DatasetError, match=r"one size.*p6\.png"):
        augment(dataset, tmp_path / "out", 14)
    (dataset / "masks" / "p6.png").unlink()
    with pytest.raises(DatasetError, match="readable picture"):
        augment(dataset, tmp_path / "out", 14)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_pictures_of_more_than_8_bits_are_refused(dataset: Path, tmp_path: Path) -> None:
    deep = np.full((48, 40), 900, np.uint16)
    Image.fromarray(deep).save(dataset / "images" / "p0.png")
    with pytest.raises(DatasetError, match="8 bits, found values up to 900"):
        augment(dataset, tmp_path / "out", 14)


def test_an_original_named_like_a_copy_is_refused(dataset: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (dataset / folder / "p0.png").rename(dataset / folder / "p1_copy1.png")
    manifest = dataset / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("p0.png", "p1_copy1.png"))
    with pytest.raises(DatasetError, match=r"free names.*p1_copy1\.png"):
        augment(dataset, tmp_path / "out", 14)


def test_pictures_in_folders_of_their_own_stay_there(dataset: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (dataset / folder / "deep").mkdir()
        (dataset / folder / "p0.png").rename(dataset / folder / "deep" / "p0.png")
    manifest = dataset / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("p0.png", "deep/p0.png"))
    augment(dataset, tmp_path / "out", 14)
    assert (tmp_path / "out" / "images" / "deep" / "p0_copy1.png").is_file()


def test_a_patient_in_two_splits_is_refused(dataset: Path, tmp_path: Path) -> None:
    manifest = dataset / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("p0.png,artificial-0", "p0.png,artificial-2"))
    with pytest.raises(PatientLeakError, match="artificial-2"):
        augment(dataset, tmp_path / "out", 14)


def test_the_counts_of_the_study() -> None:
    # 20 % of 3500 is 700; 20 % of the other 2800 is 560
    assert paper_counts(3500) == {"training": 2240, "validation": 560, "test": 700}
    # 3 of 11 (2.2 rounded up), 2 of the other 8 (1.6 rounded up)
    assert paper_counts(11) == {"training": 6, "validation": 2, "test": 3}
    assert paper_counts(0) == {"training": 0, "validation": 0, "test": 0}


CASES = tuple(Sample(f"{i}.png", f"artificial-{i // 20}", "official") for i in range(200))


def test_the_split_by_image_has_the_counts_and_leaks() -> None:
    counts = paper_counts(200)
    dealt = image_level_split(CASES, counts, seed=1)
    assert Counter(sample.split for sample in dealt) == counts
    assert tuple(replace(sample, split="official") for sample in dealt) == CASES
    sides = {patient: set() for patient in {sample.patient_id for sample in CASES}}
    for sample in dealt:
        sides[sample.patient_id].add(sample.split)
    assert all(len(each) == 3 for each in sides.values())
    assert image_level_split(CASES, counts, seed=1) == dealt
    assert image_level_split(CASES, counts, seed=2) != dealt


def test_the_split_by_image_needs_fitting_counts() -> None:
    with pytest.raises(UsageError, match="sum to 200"):
        image_level_split(CASES, {"training": 150, "test": 49})
    with pytest.raises(UsageError, match="sum to 200"):
        image_level_split(CASES, {"training": 201, "test": -1})
    assert image_level_split((), {}) == ()
