"""Files appear whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lvseg.atomic import atomic_folder, atomic_write, recover, write_text
from lvseg.errors import UsageError


def test_a_finished_block_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "mask.nii.gz"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert [entry.name for entry in target.parent.iterdir()] == ["mask.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_leaves_no_file_and_no_temporary(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def half_written() -> None:
        with atomic_write(tmp_path / "a.png") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        half_written()
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_keeps_the_older_file(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.json", "old")

    def half_written() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("new", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_written()
    assert target.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_block_that_takes_its_temporary_away_leaves_nothing(tmp_path: Path) -> None:
    def lost() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.unlink()

    with pytest.raises(FileNotFoundError):
        lost()
    assert list(tmp_path.iterdir()) == []


def test_access_rights_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        target = write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o640  # 0o666 without 0o027


def test_text_has_the_same_bytes_everywhere(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.txt", "µ\n").read_bytes() == b"\xc2\xb5\n"


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    blocker = write_text(tmp_path / "out", "")
    with pytest.raises(UsageError, match="choose another output folder"):
        write_text(blocker / "a.txt", "")


def test_a_finished_block_leaves_the_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target, "card.json") as building:
        (building / "card.json").write_text("{}", encoding="utf-8")
        assert not target.exists()
    assert [entry.name for entry in target.iterdir()] == ["card.json"]
    assert [entry.name for entry in target.parent.iterdir()] == ["model"]


def test_a_new_folder_takes_the_place_of_an_older_one_of_its_kind_when_told(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("card.json", "old.onnx"):
        write_text(target / name, "old")
    with pytest.raises(UsageError, match="--overwrite"), atomic_folder(target, "card.json"):
        pass
    with atomic_folder(target, "card.json", overwrite=True) as building:
        assert (target / "old.onnx").is_file()
        write_text(building / "card.json", "new")
    assert [entry.name for entry in target.iterdir()] == ["card.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_keeps_the_older_folder(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "model"
    write_text(target / "card.json", "old")

    def half_written() -> None:
        with atomic_folder(target, "card.json", overwrite=True) as building:
            write_text(building / "card.json", "new")
            raise error

    with pytest.raises(error):
        half_written()
    assert (target / "card.json").read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_cannot_take_its_place_leaves_the_older_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_text(target / "card.json", "old")

    def lost() -> None:
        with atomic_folder(target, "card.json", overwrite=True) as building:
            building.rmdir()

    with pytest.raises(UsageError, match="No such file"):
        lost()
    assert (target / "card.json").read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    thesis = write_text(tmp_path / "thesis" / "chapter.txt", "words")
    with (
        pytest.raises(UsageError, match=r"no card\.json"),
        atomic_folder(thesis.parent, "card.json", overwrite=True),
    ):
        pass
    assert thesis.read_text(encoding="utf-8") == "words"
    with pytest.raises(UsageError), atomic_folder(thesis, "card.json", overwrite=True):
        pass
    assert thesis.is_file()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model", "card.json") as building:
        write_text(building / "card.json", "new")
    assert (tmp_path / "model" / "card.json").is_file()


def test_a_folder_has_the_usual_rights(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.mkdir()
    with atomic_folder(tmp_path / "study", None):
        pass
    assert stat.S_IMODE((tmp_path / "study").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def earlier_result(folder: Path) -> Path:
    for name in ("measurements.json", "overlays/ed.png", "notes.txt"):
        write_text(folder / name, "old")
    return folder


OWNED = ("measurements.json", "overlays")


def test_replacing_a_result_drops_old_files_of_ours_and_keeps_those_of_the_user(
    tmp_path: Path,
) -> None:
    target = earlier_result(tmp_path / "study")
    with atomic_folder(target, OWNED[0], overwrite=True, owned=OWNED) as building:
        write_text(building / "measurements.json", "new")
    assert (target / "measurements.json").read_text("utf-8") == "new"
    assert (target / "notes.txt").read_text("utf-8") == "old"
    assert not (target / "overlays").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_a_full_disk_leaves_the_earlier_file_and_says_so(tmp_path: Path) -> None:
    target = write_text(tmp_path / "last.json", "old")

    def fail(error: OSError) -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(UsageError, match=r"cannot write .*last\.json: No space left.*check"):
        fail(OSError(28, "No space left on device"))
    with pytest.raises(FileNotFoundError):  # of another file: it says so itself
        fail(FileNotFoundError(2, "No such file or directory", "elsewhere"))
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["last.json"]


def test_a_full_disk_leaves_the_earlier_result_and_says_so(tmp_path: Path) -> None:
    target = earlier_result(tmp_path / "study")

    def fail() -> None:
        with atomic_folder(target, OWNED[0], overwrite=True, owned=OWNED) as building:
            write_text(building / "measurements.json", "new")
            raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left"):
        fail()
    assert (target / "measurements.json").read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_a_place_that_another_run_took_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "study"

    def late() -> None:
        with atomic_folder(target, "measurements.json") as building:
            write_text(building / "measurements.json", "late")
            write_text(target / "measurements.json", "first")

    with pytest.raises(UsageError, match="earlier result"):
        late()
    assert (target / "measurements.json").read_text("utf-8") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


#: Replaces ``study`` and is killed: after so many renames of folders, or while it writes.
KILLED = """
import os, signal, sys
from pathlib import Path
from lvseg.atomic import atomic_folder, write_text

target, renames = Path(sys.argv[1]), int(sys.argv[2])
rename = Path.rename

def counted(self, other):
    global renames
    if renames == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    renames -= 1
    return rename(self, other)

Path.rename = counted
with atomic_folder(target, "measurements.json", overwrite=True) as building:
    write_text(building / "measurements.json", "new")
    write_text(building / "mask.nii.gz", "new")
    if renames < 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("renames", [-1, 0, 1], ids=["writing", "no-rename", "one-rename"])
def test_a_replacement_that_was_killed_leaves_the_older_folder_at_the_next_start(
    renames: int, tmp_path: Path
) -> None:
    """Between the two renames the study lies under a hidden name only."""
    target = write_text(tmp_path / "study" / "measurements.json", "old").parent
    call = [sys.executable, "-c", KILLED, str(target), str(renames)]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert any(path.name.startswith(".study.") for path in tmp_path.iterdir())
    assert target.exists() == (renames != 1)
    recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    assert (target / "measurements.json").read_text("utf-8") == "old"


def test_writing_a_folder_again_heals_what_was_killed_before(tmp_path: Path) -> None:
    for kind in ("part", "old"):
        write_text(tmp_path / f".study.0123456789ab.{kind}" / "measurements.json", kind)
    with (
        pytest.raises(UsageError, match="earlier result"),
        atomic_folder(tmp_path / "study", "measurements.json"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    assert (tmp_path / "study" / "measurements.json").read_text("utf-8") == "old"


def test_what_a_living_run_writes_is_no_leftover(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "study", None) as building, atomic_write(tmp_path / "a.csv") as a:
        recover(tmp_path)
        assert building.is_dir()
        assert a.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "study"]


def test_hidden_files_of_others_are_not_touched(tmp_path: Path) -> None:
    others = [".git", ".study.part", ".part-12", ".study.0123456789ab.bak", "study"]
    for name in others:
        write_text(tmp_path / name, "theirs")
    write_text(tmp_path / ".part-0123456789abcdef.csv", "ours")
    recover(tmp_path, "study")
    assert len([*tmp_path.iterdir()]) == len(others) + 1
    recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
