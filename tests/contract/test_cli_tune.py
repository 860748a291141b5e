"""`lvseg tune`: what it prints, what it leaves, how it ends."""

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

RECIPE = """
name = "tiny"
train_split = "training"
epochs = 2
steps_per_epoch = 1
batch_size = 2
warmup_steps = 1
validate_every = 1
[input]
spacing_mm = 1.3
crop_px = 32
[network]
widths = [2, 4]
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A bright square in four pictures of two training patients, and one of a test patient."""
    folder = tmp_path / "dataset"
    random = np.random.default_rng(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows = [["file", "patient_id", "split"]]
    for index, owner in enumerate(["p1", "p1", "p2", "p2", "p3"]):
        image = random.integers(10, 60, (44, 40)).astype(np.uint8)
        mask = np.zeros_like(image)
        image[15:26, 14:24], mask[15:26, 14:24] = 220, 255
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
        rows.append([f"{index}.png", owner, "online" if owner == "p3" else "training"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture
def call(dataset: Path, tmp_path: Path, lvseg_command: Command) -> Command:
    """The command on the tiny recipe, with more options."""
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def run(*more: object) -> Ended:
        own = ("--config", tmp_path / "recipe.toml", "--data", dataset, "-o", tmp_path / "search")
        return lvseg_command("tune", *own, *more)

    return run


def needs_the_extra() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("optuna")


@pytest.mark.torch
def test_a_search_prints_one_object_and_its_configuration_trains(
    call: Command, dataset: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    needs_the_extra()
    (tmp_path / "space.toml").write_text(
        "[space]\nlearning_rate = {low=1e-4, high=0.01, log=true}\n"
    )
    options = ("--space", tmp_path / "space.toml", "--trials", 2)
    ended = call(*options, "--json")
    assert ended.status == 0, ended.err
    found = ended.document
    assert (found["trials"], found["completed"], found["pruned"], found["failed"]) == (2, 2, 0, 0)
    assert 0 <= found["best_value"] <= 1
    assert found["best_value"] >= found["baseline_value"]
    assert found["patients"] == 1
    assert list(found["parameters"]) == ["learning_rate"]
    assert set(found["files"]) == {"study.db", "best.toml", "trials.csv", "trials.png", "run"}
    assert all(Path(path).exists() for path in found["files"].values())
    again = call(*options, "--json")
    assert again.document == found
    text = call(*options)
    assert f"best: Dice {found['best_value']:.4f} on 1 held-out patients" in text.out

    best = found["files"]["best.toml"]
    trained = lvseg_command("train", "--config", best, "--data", dataset, "-o", tmp_path / "run")
    assert trained.status == 0, trained.err


@pytest.mark.torch
def test_an_unknown_option_in_the_space_is_wrong_usage(call: Command, tmp_path: Path) -> None:
    needs_the_extra()
    (tmp_path / "space.toml").write_text('[space]\n"peak_rat" = {low=1e-4, high=1e-2}\n')
    ended = call("--space", tmp_path / "space.toml", "--json")
    assert ended.status == 2
    assert "key 'peak_rat'" in ended.document["error"]
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "search").exists()


@pytest.mark.torch
def test_test_patients_are_refused(call: Command, tmp_path: Path) -> None:
    needs_the_extra()
    recipe = RECIPE.replace('"training"', '"training+online"')
    (tmp_path / "recipe.toml").write_text(recipe)
    ended = call()
    assert ended.status == 2
    assert "leaves test patients alone" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "search").exists()


@pytest.mark.torch
def test_a_stopped_search_says_how_to_go_on(call: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_the_extra()
    from lvseg.train.search import tune as searching

    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "fit", stopped)
    ended = call("--trials", 1, "--json")
    assert ended.status == 130
    assert ended.document["error"] == "interrupted (the same command goes on)"


def test_without_its_library_it_says_what_to_install(
    call: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "optuna" or name.startswith("lvseg.train.search"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    ended = call("--json")
    assert ended.status == 2
    assert "pip install 'lvseg[train]'" in ended.document["error"]
    assert ended.err.count("\n") == 1
