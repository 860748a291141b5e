"""Which precision ``auto`` is, and that a run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import UsageError  # noqa: E402
from lvseg.modelcard import ModelCard  # noqa: E402
from lvseg.train import checkpoint, export, precision, trainer  # noqa: E402
from lvseg.train.distributed import Distributed  # noqa: E402
from lvseg.train.options import preset_names, read_preset  # noqa: E402
from lvseg.train.precision import resolve_precision  # noqa: E402

pytestmark = pytest.mark.torch

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def answer(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    """Make the processor, of whatever kind, have bfloat16 or not."""
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: native)


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_the_processor(
    machine: str, native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(precision, "_step_seconds", lambda dtype: pytest.fail("measured"))
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, "bfloat16"), (2.0, "float32")])
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_auto_measures_where_torch_cannot_say(
    machine: str, seconds: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    if machine == "x86_64":  # a torch without the question
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    times = {torch.bfloat16: seconds, torch.float32: 1.0}
    monkeypatch.setattr(precision, "_step_seconds", times.__getitem__)
    assert resolve_precision("auto", CPU) == expected


def test_a_measurement_takes_some_time_in_both_widths() -> None:
    assert precision._step_seconds(torch.float32) > 0
    assert precision._step_seconds(torch.bfloat16) > 0


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_a_gpu_does_not_count_emulation(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", CUDA) == expected


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("native", [True, False])
def test_a_named_precision_is_taken_as_it_is(
    wanted: precision.Precision, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, native)
    assert resolve_precision(wanted, CPU) == wanted


@pytest.mark.parametrize("name", preset_names())
def test_presets_leave_it_to_the_device(name: str) -> None:
    assert read_preset(name).precision == "auto"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_resumed_run_keeps_the_first_answer_bit_for_bit(
    native: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "draw_curves", lambda log, path: path)
    dataset, options = make_dataset(tmp_path / "data"), tiny_options(precision="auto")
    named = options.model_copy(update={"precision": expected})
    straight = trainer.fit(named, dataset, tmp_path / "straight", device="cpu")

    def stop(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        raise KeyboardInterrupt

    answer(monkeypatch, native)
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(options, dataset, stopped, device="cpu", report=stop)
    assert checkpoint.read_options(stopped)[0].precision == expected
    answer(monkeypatch, not native)  # another machine
    trainer.fit(options, dataset, stopped, device="cpu", resume=True)
    for name in ("last.safetensors", "best.safetensors", "last.json", "log.csv"):
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name


def test_another_precision_by_name_is_another_run(tmp_path: Path) -> None:
    dataset, run = make_dataset(tmp_path / "data"), tmp_path / "run"
    trainer.fit(tiny_options(epochs=1), dataset, run, device="cpu")
    other = tiny_options(epochs=1, precision="bfloat16")
    with pytest.raises(UsageError, match="other options"):
        trainer.fit(other, dataset, run, device="cpu", resume=True)


@pytest.mark.parametrize(("others", "expected"), [(1.0, "bfloat16"), (0.0, "float32")])
def test_processes_take_bfloat16_only_together(
    others: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, True)
    monkeypatch.setattr(Distributed, "all_reduce_sum", lambda self, values: values + others)
    two = Distributed(0, 2, CPU)
    found = trainer._with_precision(tiny_options(precision="auto"), tmp_path, False, two)
    assert found.precision == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_card_says_which_precision_trained(
    native: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "draw_curves", lambda log, path: path)
    answer(monkeypatch, native)
    options = tiny_options(precision="auto", epochs=1, steps_per_epoch=1)
    run = trainer.fit(options, make_dataset(tmp_path / "data"), tmp_path / "run", device="cpu")
    _, trained, _, data = checkpoint.exported_network(run)
    card: ModelCard = export._card(trained, data, "tiny", b"", 1)
    assert card.recipe["precision"] == expected
