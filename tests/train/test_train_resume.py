"""Stop anywhere, resume: the weights of a run that never stopped, bit for bit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import UsageError  # noqa: E402
from lvseg.train import checkpoint, trainer  # noqa: E402
from lvseg.train.network import NetworkOptions  # noqa: E402
from lvseg.train.options import TrainOptions  # noqa: E402

pytestmark = pytest.mark.torch

RECIPES = tuple(itertools.product(("cosine", "constant"), (0.0, 0.9)))


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "draw_curves", lambda log, path: path)


def fit(options: TrainOptions, dataset: Path, run: Path, *, resume: bool = False) -> Path:
    return trainer.fit(options, dataset, run, resume=resume, device="cpu")


def stop_at(monkeypatch: pytest.MonkeyPatch, wanted: int) -> None:
    """Make the loop fail at a step, counted from 0, before it changes anything more."""
    real = trainer.learning_rate

    def fail(step: int, peak: float, **how: Any) -> float:
        if step == wanted:
            raise Stopped
        return real(step, peak, **how)

    monkeypatch.setattr(trainer, "learning_rate", fail)


def assert_same(straight: Path, stopped: Path) -> None:
    for name in ("last", "best"):
        first, second = (load_file(run / f"{name}.safetensors") for run in (straight, stopped))
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), key
    for file in ("log.csv", "last.json"):
        assert (straight / file).read_text() == (stopped / file).read_text()


@pytest.mark.parametrize("stop", range(6))  # 0 to 2 are of the first epoch, 3 to 5 of the second
@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_at_any_step(
    stop: int,
    recipe: tuple[str, float],
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule, decay = recipe
    options = tiny_options(schedule=schedule, ema_decay=decay)
    straight = fit(options, dataset, tmp_path / "straight")
    with monkeypatch.context() as patch:
        stop_at(patch, stop)
        with pytest.raises(Stopped):
            fit(options, dataset, tmp_path / "stopped")
    torch.rand(3)  # whatever else draws from the global generator must not matter
    assert_same(straight, fit(options, dataset, tmp_path / "stopped", resume=True))


def test_stopped_with_dropout_and_validation(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NetworkOptions(kind="unet", widths=(2, 4), dropout=0.5)
    options = tiny_options(network=network, validation_split="validation", validate_every=1)
    straight = fit(options, dataset, tmp_path / "straight")
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(Stopped):
            fit(options, dataset, tmp_path / "stopped")
    torch.rand(3)
    assert_same(straight, fit(options, dataset, tmp_path / "stopped", resume=True))


def test_stopped_with_a_loss_scaler(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # float16 is for CUDA, but a processor can compute it too, slowly
    monkeypatch.setattr(trainer, "_check", lambda options, team: None)
    options = tiny_options(precision="float16", steps_per_epoch=4)
    straight = fit(options, dataset, tmp_path / "straight")
    tensors = load_file(straight / "last.safetensors")
    # 65536 is halved where a gradient overflows, and that many steps are skipped
    assert tensors["scaler.scale"].item() <= 65536
    assert tensors["scaler._growth_tracker"].item() > 0
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(Stopped):
            fit(options, dataset, tmp_path / "stopped")
    assert_same(straight, fit(options, dataset, tmp_path / "stopped", resume=True))


def test_stopped_between_the_two_files_of_a_checkpoint(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_options(epochs=3)
    straight = fit(options, dataset, tmp_path / "straight")
    real = checkpoint.write_text

    def fail(path: Path, text: str) -> Path:
        if path.name == "last.json" and '"epoch": 2' in text:
            raise Stopped
        return real(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_text", fail)
        with pytest.raises(Stopped):
            fit(options, dataset, tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "last.json").read_text())["progress"]["epoch"] == 1
    assert_same(straight, fit(options, dataset, tmp_path / "stopped", resume=True))


def test_a_report_that_raises_leaves_a_run_to_resume(dataset: Path, tmp_path: Path) -> None:
    options = tiny_options()
    straight = fit(options, dataset, tmp_path / "straight")

    def stop(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        trainer.fit(options, dataset, tmp_path / "stopped", report=stop, device="cpu")
    assert checkpoint.read_options(tmp_path / "stopped")[1].epoch == 1
    assert_same(straight, fit(options, dataset, tmp_path / "stopped", resume=True))


def test_a_run_with_options_of_another_version_is_refused_in_one_line(
    dataset: Path, tmp_path: Path
) -> None:
    options = tiny_options(epochs=1)
    run = fit(options, dataset, tmp_path / "old")
    for name in ("last", "best"):
        document = json.loads((run / f"{name}.json").read_text())
        document["options"]["peak_rate"] = document["options"].pop("learning_rate")
        (run / f"{name}.json").write_text(json.dumps(document))
    message = "expected a run of lvseg train of this version in .*'peak_rate'.*start a new run"
    with pytest.raises(UsageError, match=message):
        fit(options, dataset, run, resume=True)
    with pytest.raises(UsageError, match=message):
        checkpoint.exported_network(run)


def test_without_an_average_the_exported_weights_are_the_last(
    dataset: Path, tmp_path: Path
) -> None:
    tensors = load_file(fit(tiny_options(ema_decay=0.0), dataset, tmp_path) / "best.safetensors")
    names = [key.removeprefix("network.") for key in tensors if key.startswith("network.")]
    assert names
    assert all(torch.equal(tensors[f"network.{key}"], tensors[f"ema.{key}"]) for key in names)
