"""Whatever ends a training, a checkpoint is left that goes on to the same weights, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import DivergedError, UsageError  # noqa: E402
from lvseg.train import checkpoint, trainer  # noqa: E402
from lvseg.train.options import TrainOptions  # noqa: E402
from lvseg.train.run_folder import exclusive_lock  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform == "win32", reason="missing: SIGKILL and forks"),
]

OPTIONS = tiny_options(steps_per_epoch=1, validation_split="validation", validate_every=1)
#: So many of the operations of a training are tried, spread at random.
KILLS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A training that nobody stopped, and the operations on files that it took."""
    import kill_maker

    run = tmp_path_factory.mktemp("straight") / "run"
    ended = kill_maker.train(OPTIONS, dataset, run)
    assert ended.status == 0
    return run, ended.sent


def assert_same(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        one, two = (load_file(run / f"{name}.safetensors") for run in (first, second))
        assert one.keys() == two.keys()
        assert [key for key in one if not torch.equal(one[key], two[key])] == []
    for file in ("log.csv", "last.json", "best.json"):
        assert (first / file).read_text() == (second / file).read_text()


def assert_usable(run: Path) -> None:
    """Every checkpoint that stands there in both its files can be read and exported."""
    for name in ("last", "best"):
        if (run / f"{name}.json").is_file():
            assert checkpoint.read_options(run, name)[0] == OPTIONS
    if (run / "best.json").is_file():
        checkpoint.exported_network(run)


def test_killed_at_any_operation_on_a_file(
    straight: tuple[Path, int], dataset: Path, tmp_path: Path
) -> None:
    import kill_maker

    run, operations = straight
    # lock; then twice: best and last in two files each and the log, each made, written and renamed
    assert operations > 2 * 5 * 3
    places = random.Random(5).sample(range(2, operations - 1), KILLS)
    # the last ones: the tensors of the last epoch stand already, and what belongs beside them not
    for kill_at in (*places, operations):
        stopped = tmp_path / f"stopped-{kill_at}"
        assert kill_maker.train(OPTIONS, dataset, stopped, kill_at=kill_at).killed
        assert_usable(stopped)
        again = kill_maker.train(OPTIONS, dataset, stopped)
        assert again.status == 0
        assert_same(run, stopped)


def test_a_document_that_was_left_behind_by_its_tensors_is_put_right(
    straight: tuple[Path, int], dataset: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(straight[0], tmp_path / "run")
    document = json.loads((run / "last.json").read_text())
    document["progress"] |= {"epoch": 1, "step": 1}
    (run / "last.json").write_text(json.dumps(document))
    assert_same(straight[0], fit(OPTIONS, dataset, run, resume=True))


def fit(options: TrainOptions, dataset: Path, run: Path, *, resume: bool = False) -> Path:
    return trainer.fit(options, dataset, run, resume=resume, device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_a_training_and_leaves_the_epoch_before(
    value: float, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = trainer.loss_of, []

    def break_down(*arguments: object) -> torch.Tensor:
        calls.append(1)
        loss = real(*arguments)
        return loss * value if len(calls) == 2 else loss  # the second step is of the second epoch

    options = tiny_options(steps_per_epoch=1)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "loss_of", break_down)
        with pytest.raises(DivergedError, match=f"found {value:g} after step 2: lower") as caught:
            fit(options, dataset, tmp_path / "run")
    assert caught.value.exit_code == 2
    assert checkpoint.read_options(tmp_path / "run")[1].epoch == 1
    tensors = load_file(tmp_path / "run" / "last.safetensors")
    assert all(value.isfinite().all() for key, value in tensors.items() if "network" in key)


def test_a_loss_that_is_no_number_is_one_line_and_2(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lvseg.cli import main
    from lvseg.train import trainer

    true = trainer.loss_of
    monkeypatch.setattr(trainer, "loss_of", lambda *given: true(*given) * float("nan"))
    config = tmp_path / "recipe.toml"
    config.write_text("learning_rate = 100.0\nclip_norm = 0.0\n" + TOML)
    call = ["train", "--config", str(config), "--data", str(dataset), "-o", str(tmp_path / "run")]
    assert main([*call, "--device", "cpu", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a loss that is a number, found nan" in line
    assert "lower learning_rate" in line


def test_a_disk_that_is_full_ends_in_one_line_and_leaves_a_run_to_resume(
    straight: tuple[Path, int], dataset: Path, tmp_path: Path
) -> None:
    import kill_maker

    config = tmp_path / "recipe.toml"
    config.write_text(TOML)
    call = ["train", "--config", str(config), "--data", str(dataset), "--device", "cpu"]
    whole, small = tmp_path / "whole", tmp_path / "small"
    quiet = ["--quiet", "--json"]
    assert kill_maker.command([*call, "-o", str(whole), *quiet], tmp_path / "log").sent == 0
    errors = tmp_path / "errors"
    limit = (whole / "last.safetensors").stat().st_size // 2
    ended = kill_maker.command([*call, "-o", str(small), *quiet], errors, limit)
    assert ended.sent == 2
    (line,) = errors.read_text().splitlines()
    assert "cannot write" in line
    assert "check the space" in line
    assert [path for path in small.iterdir() if path.name.startswith(".part-")] == []
    resumed = [*call, "-o", str(small), "--resume", *quiet]
    assert kill_maker.command(resumed, tmp_path / "log").sent == 0
    assert_same(whole, small)


TOML = """
name = "tiny"
epochs = 2
steps_per_epoch = 1
batch_size = 2
warmup_steps = 1
small_px = 0.0
precision = "float32"
seed = 7
train_split = "training"
validation_split = "validation"

[input]
spacing_mm = 1.3
crop_px = 16

[network]
kind = "unet"
widths = [2, 4]
normalization = "group"
"""


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_epoch", lambda *_: pytest.fail("a step was taken"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder for the training that can be written"):
        fit(OPTIONS, dataset, tmp_path / "file" / "run")


def test_two_trainings_do_not_share_a_folder(dataset: Path, tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "run", "training"),
        pytest.raises(UsageError, match=r"expected no other training in .*, found one going on"),
    ):
        fit(OPTIONS, dataset, tmp_path / "run")
