"""`lvseg reproduce`: its plan, what it refuses, how it ends."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ended
from PIL import Image

Command = Callable[..., Ended]

#: Modules that import filelock, or one that does.
NEED_THE_LOCK = {"lvseg.reproduction.plan", "lvseg.reproduction.run", "lvseg.train.run_folder"}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A bright square in three pictures, one of a patient of each split."""
    folder = tmp_path / "dataset"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows = [["file", "patient_id", "split"]]
    for index, split in enumerate(("training", "validation", "online")):
        image = np.full((44, 40), 30, np.uint8)
        image[15:26, 14:24] = 220
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray((image > 100) * np.uint8(255)).save(folder / "masks" / f"{index}.png")
        rows.append([f"{index}.png", f"p{index}", split])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture
def call(dataset: Path, tmp_path: Path, lvseg_command: Command) -> Command:
    """The command on the tiny data set, with more options."""

    def run(*more: object) -> Ended:
        return lvseg_command("reproduce", "--data", dataset, "-o", tmp_path / "study", *more)

    return run


def needs_the_extra() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("filelock")


@pytest.mark.torch
def test_the_plan_names_the_steps_and_their_time(call: Command, tmp_path: Path) -> None:
    needs_the_extra()
    ended = call("--plan", "--only", "loss", "--only", "longer", "--device", "cpu", "--json")
    assert ended.status == 0
    assert [step["key"] for step in ended.document["steps"]] == ["loss", "longer"]
    assert ended.document["total_s"] > 0
    assert not (tmp_path / "study").exists()
    assert "hours on cpu" in call("--plan", "--only", "loss", "--device", "cpu").out


@pytest.mark.torch
def test_it_runs_and_says_where_the_report_is(
    call: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_the_extra()
    from lvseg.reproduction import run

    told: dict[str, Any] = {}

    def pretend(data: Path, output: Path, scale: Any, **options: Any) -> dict[str, Any]:
        told.update(options, scale=scale.name)
        means = {part: {"dice": {"mean": 0.5}} for part in ("training", "validation", "test")}
        return {"steps": [{"key": "loss", "scores": means}], "missing": ["longer"]}

    monkeypatch.setattr(run, "reproduce", pretend)
    ended = call("--scale", "paper", "--device", "cpu", "--only", "loss")
    assert (ended.status, ended.err) == (0, "")
    assert (told["scale"], told["device"], told["only"]) == ("paper", "cpu", ("loss",))
    assert "loss  0.5000" in ended.out
    assert "not run yet: longer" in ended.out
    assert str(tmp_path / "study" / "report.html") in ended.out


@pytest.mark.torch
def test_an_unknown_step_is_named_with_the_known_ones(call: Command, tmp_path: Path) -> None:
    needs_the_extra()
    ended = call("--only", "nonsense", "--json")
    assert ended.status == 2
    assert "batch-size" in ended.document["error"]
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "study").exists()


@pytest.mark.torch
def test_a_stopped_run_says_how_to_go_on(call: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_the_extra()
    from lvseg.reproduction import run

    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "reproduce", stopped)
    ended = call("--json")
    assert ended.status == 130
    assert ended.document["error"] == "interrupted (the same command goes on)"


def test_without_its_library_it_says_what_to_install(
    call: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name in NEED_THE_LOCK or name.partition(".")[0] == "filelock":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "filelock", None)
    ended = call("--json")
    assert ended.status == 2
    assert "pip install 'lvseg[train]'" in ended.document["error"]
