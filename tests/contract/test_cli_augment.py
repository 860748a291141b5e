"""`lvseg augment`: what it prints, what it writes, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended
from PIL import Image

from lvseg.manifest import read_manifest

Command = Callable[..., Ended]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four pictures of two patients."""
    rows, columns = np.ogrid[:52, :44]
    random = np.random.default_rng(8)
    lines = ["file,patient_id,split"]
    for folder in ("images", "masks"):
        (tmp_path / "dataset" / folder).mkdir(parents=True)
    for index in range(4):
        disc = (rows - 24) ** 2 + (columns - 20 - index) ** 2 < 81
        # Coarse random squares: no two pictures look alike.
        noise = np.kron(random.integers(0, 120, (13, 11)), np.ones((4, 4)))
        image = np.where(disc, 130, 0) + noise
        for folder, pixels in (("images", image), ("masks", 255 * disc)):
            path = tmp_path / "dataset" / folder / f"{index}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        lines.append(f"{index}.png,artificial-{index // 2},{('training', 'test')[index // 2]}")
    (tmp_path / "dataset" / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "dataset"


def test_augment_says_what_it_made(dataset: Path, lvseg_command: Command) -> None:
    out = dataset.with_name("out")
    ended = lvseg_command("augment", dataset, "-o", out, "--total", 10)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"{out}: 10 images of 2 patients (test ")
    assert ended.out.endswith("4 originals and 6 copies\n")
    assert len(read_manifest(out)) == 10
    assert lvseg_command("check", out).status == 0


def test_augment_as_json_names_every_setting(dataset: Path, lvseg_command: Command) -> None:
    out = dataset.with_name("out")
    ended = lvseg_command("augment", dataset, "-o", out, "--total", 7, "--seed", 3, "--json")
    assert (ended.status, ended.err) == (0, "")
    found = ended.document
    assert (found["images"], found["originals"], found["copies"]) == (7, 4, 3)
    assert (found["patients"], found["seed"], found["dataset"]) == (2, 3, str(out))
    assert found["options"] == {
        "rotation_degrees": 180.0,
        "horizontal_flip": True,
        "vertical_flip": True,
        "zoom": 0.0,
        "width_shift": 0.0,
        "height_shift": 0.0,
        "fill": "nearest",
    }


def test_options_reach_the_copies(dataset: Path, lvseg_command: Command) -> None:
    out = dataset.with_name("out")
    still = ("--rotation", 0, "--no-flips")
    shifts = ("--zoom", 0.1, "--width-shift", 0.2, "--height-shift", 0.3, "--fill", "zero")
    command = ("augment", dataset, "-o", out, "--total", 8, "--split", "test", *still)
    found = lvseg_command(*command, *shifts, "--json").document
    assert list(found["options"].values()) == [0.0, False, False, 0.1, 0.2, 0.3, "zero"]
    assert found["splits"] == {"test": 6, "training": 2}
    assert lvseg_command(*command, "--overwrite").status == 0
    for case in read_manifest(out):  # nothing is drawn: the bytes of the original
        original = dict(case.extra)["original"] or case.file
        for folder in ("images", "masks"):
            copy, source = out / folder / case.file, dataset / folder / original
            assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (("--total", 3), 2, "4 originals"),
        (("--total", 9, "--rotation", 200), 2, "0 to 180"),
        (("--total", 9, "--split", "online"), 2, "online"),
        (("--total", 9, "--fill", "mirror"), 2, "mirror"),
        ((), 2, "--total"),
    ],
)
def test_wrong_usage_ends_with_2_in_one_line(
    more: tuple[object, ...], status: int, words: str, dataset: Path, lvseg_command: Command
) -> None:
    ended = lvseg_command("augment", dataset, "-o", dataset.with_name("out"), *more)
    assert ended.status == status
    assert words in ended.err
    assert not dataset.with_name("out").exists()


def test_an_existing_folder_needs_overwrite(dataset: Path, lvseg_command: Command) -> None:
    out = dataset.with_name("out")
    command = ("augment", dataset, "-o", out, "--total", 6)
    assert lvseg_command(*command).status == 0
    ended = lvseg_command(*command)
    assert ended.status == 2
    assert "--overwrite" in ended.err
    assert ended.err.count("\n") == 1


def test_a_broken_data_set_ends_with_3(dataset: Path, lvseg_command: Command) -> None:
    (dataset / "images" / "2.png").unlink()
    ended = lvseg_command(
        "augment", dataset, "-o", dataset.with_name("out"), "--total", 6, "--json"
    )
    assert ended.status == 3
    assert "2.png" in ended.document["error"]
    assert ended.err.count("\n") == 1
    assert lvseg_command("augment", dataset / "no", "-o", "out", "--total", 6).status == 3
