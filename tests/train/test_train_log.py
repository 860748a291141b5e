"""What a run leaves for people."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import UsageError  # noqa: E402
from lvseg.train import checkpoint, trainer  # noqa: E402
from lvseg.train import log as logging  # noqa: E402

pytestmark = pytest.mark.torch

LOG = [
    {"epoch": 1, "step": 3, "learning_rate": 0.01, "loss": 0.5, "training_dice": 0.25},
    {"epoch": 2, "step": 6, "learning_rate": 0.0, "loss": 0.25, "validation_dice": 0.75},
]


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert logging.read_log(tmp_path) == []
    logging.write_log(tmp_path, LOG)
    assert logging.read_log(tmp_path) == LOG
    text = (tmp_path / "log.csv").read_text()
    assert text.splitlines()[1] == "1,3,0.01,0.5,0.25,,,,"


@pytest.mark.parametrize("log", [[], LOG])
def test_curves_are_a_picture(log: list[dict[str, float]], tmp_path: Path) -> None:
    logging.draw_curves(log, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1100, 352)
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_a_figure_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "curves.png").write_text("before")

    def fail(self: Figure, path: Path, **options: object) -> None:
        path.write_text("half")
        raise OSError

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(UsageError, match=r"cannot write .*curves\.png"):
        logging.draw_curves(LOG, tmp_path / "curves.png")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_a_run_leaves_log_curves_and_checkpoints(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    options = tiny_options(validation_split="validation", validate_every=2)
    run = trainer.fit(options, dataset, tmp_path / "run", device="cpu")
    assert sorted(file.name for file in run.iterdir() if file.name != ".lock") == [
        "best.json",
        "best.safetensors",
        "curves.png",
        "last.json",
        "last.safetensors",
        "log.csv",
    ]
    first, second = logging.read_log(run)
    assert set(second) == set(logging.LOG_FIELDS)
    assert set(logging.LOG_FIELDS) - set(first) == {
        "validation_loss",
        "validation_dice",
        "validation_jaccard",
    }
    assert 0 < second["training_jaccard"] < second["training_dice"] < 1


# TensorBoard's protobuf and numpy announce changes of theirs
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard_gets_the_figures_of_each_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with logging.tensorboard(tmp_path, 0) as writer:
        for row in LOG:
            logging.log_scalars(writer, row)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    seen = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    assert {tag: [(e.step, e.value) for e in each] for tag, each in seen.items()} == {
        "learning/rate": [(1, pytest.approx(0.01)), (2, 0.0)],
        "loss": [(1, 0.5), (2, 0.25)],
        "training/dice": [(1, 0.25)],
        "validation/dice": [(2, 0.75)],
    }


def test_no_tensorboard_unless_it_is_asked_for(tmp_path: Path) -> None:
    with logging.tensorboard(tmp_path, 0, wanted=False) as writer:
        logging.log_scalars(writer, LOG[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_command_takes_device_determinism_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lvseg.cli import main

    dataset = make_dataset(tmp_path / "data")
    recipe = (
        'name = "x"\nepochs = 1\nsteps_per_epoch = 1\n[input]\nspacing_mm = 1.3\ncrop_px = 16\n'
    )
    (tmp_path / "recipe.toml").write_text(f'{recipe}[network]\nkind = "unet"\nwidths = [2, 4]\n')
    words = ["train", "--config", str(tmp_path / "recipe.toml"), "--data", str(dataset), "-o"]
    run = tmp_path / "run"
    more = ["--device", "cpu", "--deterministic", "--tensorboard"]
    assert main([*words, str(run), *more]) == 0
    assert capsys.readouterr().out.startswith(f"run: {run}")
    assert list((run / "tensorboard").iterdir())
    assert checkpoint.read_options(run)[0].deterministic
    if not torch.cuda.is_available():
        assert main([*words, str(tmp_path / "other"), "--device", "cuda"]) == 2
