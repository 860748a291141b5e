"""Two gloo processes take the steps of one process with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import UsageError  # noqa: E402
from lvseg.train import trainer  # noqa: E402
from lvseg.train.distributed import Distributed, pick_device  # noqa: E402

pytestmark = pytest.mark.torch

#: Three pictures a batch are shares of one and two; every second batch is of the coarse pass.
RECIPE = """
name = "tiny"
validation_split = "validation"
epochs = 2
steps_per_epoch = 3
batch_size = 3
locate_every = 2
learning_rate = 0.005
warmup_steps = 1
validate_every = 1
small_px = 0.0
precision = "float32"
[input]
spacing_mm = 1.3
crop_px = 16
[network]
kind = "unet"
widths = [2, 4]
normalization = "group"
[augment]
noise = [0.0, 0.0]
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "lvseg.cli", "train", "--config", str(tmp_path / "recipe.toml")]
    where = ["--data", str(dataset), "-o", str(tmp_path / "two"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *train, *where], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run: ") == 1  # one process speaks

    from lvseg.train.options import load_options

    options = load_options(tmp_path / "recipe.toml")
    one = trainer.fit(options, dataset, tmp_path / "one", device="cpu")
    first, second = (load_file(run / "last.safetensors") for run in (one, tmp_path / "two"))
    assert first.keys() == second.keys()
    for key, value in first.items():
        exact = 1e-6 if not key.startswith("optimizer.") else 3e-5  # sums of gradients, not shrunk
        torch.testing.assert_close(second[key], value, atol=exact, rtol=0, msg=key)
    logs = [trainer.read_log(run) for run in (one, tmp_path / "two")]
    for row, other in zip(*logs, strict=True):
        assert other == pytest.approx(row, abs=1e-5)


def test_shares_cover_a_batch_in_order() -> None:
    for size in (1, 2, 3):
        shares = [Distributed(rank, size, torch.device("cpu")).share(7) for rank in range(size)]
        covered = [index for share in shares for index in range(7)[share]]
        assert covered == list(range(7))
        assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1


def test_alone_there_is_nothing_to_share_or_wait_for() -> None:
    group = Distributed(0, 1, torch.device("cpu"))
    network = torch.nn.Conv2d(1, 1, 1)
    assert group.is_main
    assert group.wrap(network) is network
    assert group.sync_batchnorm(network) is network
    assert group.all_reduce_sum(torch.ones(2)).tolist() == [1, 1]
    group.barrier()


def test_fewer_pictures_than_processes_are_refused() -> None:
    group = Distributed(0, 3, torch.device("cpu"))
    with pytest.raises(UsageError, match="3 processes, found 2"):
        trainer._check(tiny_options(batch_size=2), group)
    with pytest.raises(UsageError, match="3 processes, found 2"):  # one of the coarse pass has two
        trainer._check(tiny_options(batch_size=8, locate_every=4), group)
    trainer._check(tiny_options(batch_size=3), group)


def test_float16_is_refused_on_a_processor() -> None:
    with pytest.raises(UsageError, match="bfloat16"):
        trainer._check(tiny_options(precision="float16"), Distributed(0, 1, torch.device("cpu")))


def test_devices_are_picked_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="torch finds none"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert str(pick_device("auto", 1)) == "cuda:1"
    assert pick_device("cpu", 1).type == "cpu"
