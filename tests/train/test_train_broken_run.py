"""Broken files of a run and of its options end with an error that names them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.optim import AdamW  # noqa: E402
from train_maker import tiny_options  # noqa: E402

from lvseg.cli import main  # noqa: E402
from lvseg.errors import LvsegError, ModelError, UsageError  # noqa: E402
from lvseg.train import checkpoint  # noqa: E402
from lvseg.train.log import read_log  # noqa: E402
from lvseg.train.network import build  # noqa: E402
from lvseg.train.options import TrainOptions, load_options, to_toml  # noqa: E402
from lvseg.train.run_folder import read_kept  # noqa: E402

pytestmark = pytest.mark.torch

RECORD = {"patients": ["a"], "image_sha256": ["0"], "dataset": {}}


def state() -> checkpoint.State:
    network = build(tiny_options().network, 1, 1)
    return checkpoint.State(network, network, AdamW(network.parameters()), torch.Generator())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was begun, both of its checkpoints whole."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("best", "last"):
        progress = checkpoint.TrainingProgress(1, 3)
        checkpoint.save(folder, name, state(), tiny_options(), progress, RECORD)
    return folder


class Runs:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / name).write_bytes(data) and None


def without(*keys: str) -> Callable[[Path], None]:
    """A document that lacks a key, at any depth."""

    def change(run: Path) -> None:
        document = json.loads((run / "best.json").read_text())
        inner = document
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        (run / "best.json").write_text(json.dumps(document))

    return change


def other_network(run: Path) -> None:
    options = tiny_options(network={"kind": "unet", "widths": (2, 6), "normalization": "group"})
    document = json.loads((run / "best.json").read_text())
    document["options"] = options.model_dump(mode="json")
    (run / "best.json").write_text(json.dumps(document))


def cut(run: Path) -> None:
    path = run / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BREAKS: dict[str, Callable[[Path], None]] = {
    "cut off": text("best.json", "{"),
    "a list": text("best.json", "[]"),
    "a number": text("best.json", "7"),
    "empty object": text("best.json", "{}"),
    "empty file": text("best.json", ""),
    "no text": text("best.json", b"\xff\xfe\xff\xd8"),
    "nested": text("best.json", "[" * 100_000),
    "no options": without("options"),
    "no progress": without("progress"),
    "no patients": without("data", "patients"),
    "progress of another kind": text(
        "best.json",
        json.dumps(
            {
                "options": tiny_options().model_dump(mode="json"),
                "progress": {"epoch": "x"},
                "data": RECORD,
            }
        ),
    ),
    "pickle": text("best.safetensors", pickle.dumps(Runs())),
    "empty tensors": text("best.safetensors", b""),
    "cut tensors": cut,
    "other network": other_network,
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_run_is_not_exported(
    run: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BREAKS[name](run)
    assert main(["export", str(run), "-o", str(tmp_path / "model")]) == 5
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "expected a checkpoint of lvseg train" in err
    assert "/run/best." in err
    assert "internal error" not in err
    assert not (tmp_path / "model").exists()


def test_a_whole_run_can_be_read(run: Path) -> None:
    assert checkpoint.read_options(run, "best")[0] == tiny_options()
    assert checkpoint.restore(run, state()) == checkpoint.TrainingProgress(1, 3)


@pytest.mark.parametrize("content", [b"", b"{}", pickle.dumps(Runs())], ids=["no", "json", "pkl"])
def test_a_broken_state_is_not_resumed(run: Path, content: bytes) -> None:
    (run / "last.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"last\.safetensors"):
        checkpoint.restore(run, state())


@pytest.mark.parametrize("content", ["epoch\nx\n", "epoch,loss\n1,2,3,4\n"])
def test_a_broken_log_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ModelError, match=r"log\.csv"):
        read_log(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"wall": "x"}', '{"wall": {}}'])
def test_what_an_earlier_run_left_broken_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "seconds.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"seconds\.json: remove it"):
        read_kept(path, dict[str, float])
    path.write_text('{"wall": 1.5}')
    assert read_kept(path, dict[str, float]) == {"wall": 1.5}


def refused(path: Path, *words: str) -> None:
    with pytest.raises(LvsegError) as caught:
        load_options(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for word in (path.name, *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_options_in_another_encoding_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes('name = "Cœur"'.replace("œ", "é").encode(encoding))
    refused(path, "save it as UTF-8")


def test_options_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(to_toml(tiny_options().model_dump(mode="json", exclude_none=True)), "utf-8-sig")
    assert load_options(path) == tiny_options()


ABSURD = {
    "epochs": ("epochs = 0", "epochs = 1000000000000", "epochs = nan"),
    "batch_size": ("batch_size = -1", "batch_size = 1000000000"),
    "learning_rate": ("learning_rate = -1.0", "learning_rate = inf", "learning_rate = nan"),
    "seed": ("seed = -1", "seed = 99999999999999999999999"),
    "threshold": ("threshold = 0.0", "threshold = 7.5"),
    "small_weight": ("small_weight = -2.0",),
    "locate_every": ("locate_every = -1",),
    "name": ('name = ""', 'name = "a\\u001b[31mb"'),
    "network.widths": ("network.widths = [0, 4]", "network.widths = [1000000, 4]"),
    "network.dropout": ("network.dropout = 1.0",),
    "input.crop_px": ("input = {spacing_mm = 1.3, crop_px = 1000000000}",),
    "input.spacing_mm": ("input = {spacing_mm = 0.0}", "input = {spacing_mm = nan}"),
    "augment.shift_px": ("augment.shift_px = -1.0", "augment.shift_px = inf"),
}


@pytest.mark.parametrize(("key", "line"), [(key, each) for key in ABSURD for each in ABSURD[key]])
def test_absurd_options_are_named_with_their_key(tmp_path: Path, key: str, line: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(line if line.startswith("name") else f'name = "a"\n{line}\n')
    refused(path, f"key '{key}")


@pytest.mark.parametrize("content", ["name = ", "a.b = 1\na = 2", "x = " + "[" * 5000])
def test_broken_toml_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.toml").write_text(content)
    refused(tmp_path / "a.toml", "expected training options as TOML")


def test_options_larger_than_any_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("# " + "a" * 2**20)
    refused(tmp_path / "a.toml", "more than 1048576 bytes")
    with pytest.raises(UsageError, match="a folder, not a file"):
        load_options(tmp_path)
    assert TrainOptions(name="a").name == "a"
