"""Stop anywhere, resume: the weights of a run that never stopped, bit for bit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

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


def test_a_checkpoint_of_version_0_1_goes_on(dataset: Path, tmp_path: Path) -> None:
    # it had other names, no progress beside the tensors and fewer columns in its log
    options = tiny_options()
    straight = fit(options, dataset, tmp_path / "straight")

    def stop(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        raise Stopped

    run = tmp_path / "old"
    with pytest.raises(Stopped):
        trainer.fit(options, dataset, run, report=stop, device="cpu")
    document = json.loads((run / "last.json").read_text())
    for key in ("schedule", "clip_norm", "deterministic"):
        del document["options"][key]
    document["options"] |= {"optimiser": "adamw", "momentum": 0.9}  # and some that are gone
    for place, old, new in (
        (document["options"], "peak_rate", "learning_rate"),
        (document["options"], "scout_every", "locate_every"),
        (document["options"]["input"], "window_px", "crop_px"),
        (document["options"]["network"], "normalisation", "normalization"),
    ):
        place[old] = place.pop(new)
    (run / "last.json").write_text(json.dumps(document))
    tensors = load_file(run / "last.safetensors")
    for old, new in (("average.", "ema."), ("optimiser.", "optimizer.")):
        tensors = {key.replace(new, old): value for key, value in tensors.items()}
    save_file(tensors, run / "last.safetensors")
    columns = [line.split(",")[:4] for line in (run / "log.csv").read_text().splitlines()]
    (run / "log.csv").write_text("".join(",".join(line) + ",,\n" for line in columns))
    text = (run / "log.csv").read_text()
    (run / "log.csv").write_text(text.replace(",,", ",validation_dice,validation_jaccard", 1))

    fit(options, dataset, run, resume=True)
    first, second = (load_file(each / "last.safetensors") for each in (straight, run))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert len((run / "log.csv").read_text().splitlines()) == 3


def test_without_an_average_the_exported_weights_are_the_last(
    dataset: Path, tmp_path: Path
) -> None:
    tensors = load_file(fit(tiny_options(ema_decay=0.0), dataset, tmp_path) / "best.safetensors")
    names = [key.removeprefix("network.") for key in tensors if key.startswith("network.")]
    assert names
    assert all(torch.equal(tensors[f"network.{key}"], tensors[f"ema.{key}"]) for key in names)
