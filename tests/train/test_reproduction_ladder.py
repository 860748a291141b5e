"""The ladder of the paper: what it runs, that it goes on, and what it says."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("filelock")

from train_maker import make_three_splits  # noqa: E402

from lvseg.cine import Cine, Source  # noqa: E402
from lvseg.errors import DatasetError, PatientLeakError, UsageError  # noqa: E402
from lvseg.manifest import read_manifest, select  # noqa: E402
from lvseg.reproduction import comparisons, run, splits, step_run  # noqa: E402
from lvseg.reproduction.batch_statistics import with_own_statistics  # noqa: E402
from lvseg.reproduction.ladder import COMPARED, MODIFIED, PEERS, SCALES, Scale  # noqa: E402
from lvseg.reproduction.plan import make_plan  # noqa: E402
from lvseg.reproduction.run import reproduce, steps_of  # noqa: E402
from lvseg.reproduction.score import Row, load, predict, summary  # noqa: E402
from lvseg.reproduction.step_run import Place  # noqa: E402
from lvseg.reproduction.trainer import LOSSES, load_frames  # noqa: E402
from lvseg.reproduction.worker_pool import jobs_for, run_steps  # noqa: E402
from lvseg.train.dataset import load_slices  # noqa: E402
from lvseg.train.network import build, count_parameters  # noqa: E402

pytestmark = pytest.mark.torch

TINY = Scale("tiny", 24, 2, 2, 16, 32, 3, 2, 4, 2)
#: Of the ladder, peers included.
STEPS = 24
#: Names of the two steps that are interrupted and gone on with below.
PAIR = (f"official-{MODIFIED}", "order")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_three_splits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole ladder, tiny."""
    output = tmp_path_factory.mktemp("paper") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_run, "SHOWN", 1)
        reproduce(dataset, output, TINY, device="cpu", jobs=1)
    return output


def document(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "study.json").read_text())
    return found


def test_everything_that_the_ladder_leaves_appears(whole: Path) -> None:
    keys = [step.key for step in steps_of(TINY)]
    assert len(keys) == STEPS
    for key in keys:
        files = {file.name for file in (whole / "runs" / key).iterdir()}
        assert {"scores.json", "curves.png", "examples.png", "log.csv"} <= files
        assert "best.safetensors" not in files
    found = document(whole)
    assert [step["key"] for step in found["steps"]] == keys
    assert found["missing"] == []
    for step in found["steps"]:
        for part in ("training", "validation", "test"):
            for name in ("dice", "jaccard"):
                assert 0 <= step["scores"][part][name]["mean"] <= 1
        assert len(step["log"]) == step["options"]["epochs"]
    assert set(found["leak"]["by_network"]) == {
        "encoder-decoder",
        "se-encoder-decoder",
        "unet",
        MODIFIED,
    }
    assert found["leak"]["same_shares"]["honest_patients"] > 0
    assert found["leak"]["same_pictures"][f"official-{MODIFIED}"]["pictures"] > 0
    assert found["leak"]["batches"]["leaking"] == scores_of(found, "leak-by-image")
    assert found["leak"]["batches"]["honest"] == scores_of(found, "leak-by-patient")


def scores_of(found: dict[str, Any], key: str) -> float:
    step = next(step for step in found["steps"] if step["key"] == key)
    dice: float = step["scores"]["test"]["dice"]["mean"]
    return dice


def test_the_report_has_its_tables_and_works_alone(whole: Path) -> None:
    page, text = ((whole / f"report.{end}").read_text() for end in ("html", "md"))
    titles = ("paper's networks", "Why training", "One change", "What the leak hides", "Peers")
    for title in titles:
        assert title.replace("'", "&#39;") in page
        assert title in text
    assert page.count("data:image/png;base64,") == 2 * STEPS
    assert "http" not in page
    assert text.count(".png)") == 2 * STEPS
    for name in text.split("](")[1:]:
        assert (whole / name.partition(")")[0]).is_file()
    assert "narrower networks, smaller images and fewer steps" in text


def test_the_leaking_split_shares_patients_and_the_others_share_none(whole: Path) -> None:
    found = document(whole)["splits"]
    assert found["image-level"]["patients_in_training_and_test"] > 0
    for name in ("patient-shares", "official", "originals"):
        assert found[name]["patients_in_training_and_test"] == 0
        samples = read_manifest(whole / "data" / name)  # refuses a leak
        assert splits.shared_patients(samples, "training", "validation") == ()
    with pytest.raises(PatientLeakError):
        read_manifest(whole / "data" / "image-level")


def test_a_leaking_manifest_is_read_only_when_asked(whole: Path) -> None:
    folder = whole / "data" / "image-level"
    with pytest.raises(PatientLeakError):
        load_slices(folder, "training", steps_of(TINY)[-1].options)
    with pytest.raises(PatientLeakError):
        load_frames(folder, "training", 16)
    assert len(load_frames(folder, "training", 16, allow_leaks=True).images) == 15


def test_counts_are_those_of_the_paper_and_only_training_has_copies(whole: Path) -> None:
    found = document(whole)["splits"]
    # 24 pictures: 20 % rounded up are 5 for test, of the other 19 again 4, 15 are left
    assert found["image-level"]["pictures"] == {"training": 15, "validation": 4, "test": 5}
    assert found["image-level"]["copies"] == 24 - 18
    assert found["official"]["pictures"] == {"training": 15, "validation": 6, "test": 6}
    assert found["official"]["copies"] == 15 - 6
    held_out = select(read_manifest(whole / "data" / "official"), "validation+test")
    assert not any(dict(sample.extra).get("original") for sample in held_out)
    assert found["originals"]["copies"] == 0


def test_the_paper_in_numbers_at_its_own_scale() -> None:
    steps = {step.key: step for step in steps_of(SCALES["paper"])}
    own = steps["image-level-se-encoder-decoder"].options
    assert (own.steps_per_epoch, own.epochs, own.batch_size) == (2240, 15, 1)
    assert (own.optimizer, own.learning_rate, own.momentum, own.schedule) == (
        "sgd",
        0.01,
        0.9,
        "constant",
    )
    assert (own.loss, own.frame_px) == ("dice", 256)
    assert (own.ema_decay, own.augment, own.shuffled) == (0, None, False)
    assert (own.warmup_steps, own.weight_decay, own.clip_norm) == (0, 0, 0)
    with torch.device("meta"):
        assert count_parameters(build(own.network)) == pytest.approx(101e6, rel=0.01)


def test_every_rung_changes_what_it_names_and_nothing_else() -> None:
    steps = {step.key: step for step in steps_of(SCALES["small"])}
    expected = {
        f"official-{MODIFIED}": {"network"},
        "order": {"shuffled"},
        "batch-size": {"batch_size", "steps_per_epoch"},
        "normalisation": {"network"},
        "augmentation": {"augment"},
        "loss": {"loss"},
        "schedule": {
            "optimizer",
            "schedule",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "clip_norm",
            "ema_decay",
        },
        "window": {"augment", "validate_every"},  # of the options that frames have too
        "width": {"network"},
        "longer": {"epochs", "validate_every"},
    }
    for key, fields in expected.items():
        step = steps[key]
        assert step.before is not None
        new, old = (each.model_dump() for each in (step.options, steps[step.before].options))
        shared = new.keys() & old.keys() - {"name"}
        assert {name for name in shared if new[name] != old[name]} == fields, key
    assert [step.key for step in steps.values() if step.before] == list(expected)
    budgets = {step.options.steps_per_epoch * step.options.batch_size for step in steps.values()}
    assert budgets == {2240}
    widths = {getattr(step.options, "precision", "float32") for step in steps.values()}
    assert widths == {"float32"}  # figures do not depend on the processor


def test_a_stopped_ladder_goes_on_to_the_same_numbers(
    whole: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_run, "SHOWN", 1)
    epochs = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal epochs
        epochs += "epoch" in stage
        if epochs == 3:  # of two a step: in the middle of the second one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(dataset, tmp_path, TINY, device="cpu", jobs=1, only=PAIR, report=stop)
    assert not (tmp_path / "study.json").exists()
    assert len((tmp_path / "runs" / PAIR[1] / "log.csv").read_text().splitlines()) == 2
    again = counted(monkeypatch)
    reproduce(dataset, tmp_path, TINY, device="cpu", jobs=1, only=PAIR)
    assert again == [PAIR[1]]  # a finished step is not repeated
    straight = [step for step in document(whole)["steps"] if step["key"] in PAIR]
    assert straight[1]["bought_on_validation"]["pictures"] == 6
    straight[0]["bought_on_validation"] = None  # the step before it was not asked for
    assert document(tmp_path)["steps"] == straight


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained from now on."""
    names: list[str] = []
    train_step = step_run.train_step

    def told(step: Any, *arguments: Any) -> None:
        names.append(step.key)
        train_step(step, *arguments)

    monkeypatch.setattr(step_run, "train_step", told)
    return names


def test_nothing_is_trained_twice(
    whole: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, before = counted(monkeypatch), document(whole)
    reproduce(dataset, whole, TINY, device="cpu", jobs=1)
    assert trained == []
    assert document(whole) == before


def test_another_scale_or_seed_needs_another_folder(whole: Path, dataset: Path) -> None:
    with pytest.raises(UsageError, match="another scale"):
        reproduce(dataset, whole, replace(TINY, epochs=3), device="cpu", jobs=1)
    with pytest.raises(UsageError, match="another seed"):
        reproduce(dataset, whole, TINY, seed=1, device="cpu", jobs=1)
    with pytest.raises(UsageError, match="nonsense"):
        reproduce(dataset, whole, TINY, only=["nonsense"], device="cpu", jobs=1)


def test_a_data_set_without_test_patients_is_refused(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "manifest.csv").read_text().replace("online", "training")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UsageError, match="online"):
        splits.paper_samples(tmp_path)


def test_frames_without_cavity_are_left_out(dataset: Path, tmp_path: Path) -> None:
    first, *lines = (dataset / "manifest.csv").read_text().splitlines()
    marked = [f"{line},{1 if line.startswith('4.') else ''}" for line in lines]
    (tmp_path / "manifest.csv").write_text("\n".join([f"{first},empty", *marked]))
    names = {sample.file for sample in splits.paper_samples(tmp_path)}
    assert names == {f"{index}.png" for index in range(18)} - {"4.png"}


def row(file: str, patient: str, value: float) -> Row:
    return Row(file, patient, False, value, value / (2 - value))


def test_what_a_change_bought_is_of_the_same_pictures() -> None:
    before = [row("a", "p", 0.5), row("b", "q", 0.6), row("c", "q", 0.1)]
    after = [row("b", "q", 0.7), row("a", "p", 0.9)]
    found = comparisons.paired_difference(before, after)
    assert found["dice"] == pytest.approx(0.25)  # (0.4 + 0.1) / 2
    # one patient drawn twice gives 0.4 or 0.1, in a quarter of the draws each
    assert found["dice_ci95"] == pytest.approx([0.1, 0.4])
    assert (found["pictures"], found["patients"]) == (2, 2)


def test_the_gap_draws_the_patients_of_both_sides() -> None:
    leaking = [row("a", "p", 0.8), row("b", "q", 1.0)]  # drawn means 0.8, 0.9 or 1.0
    honest = [row("c", "r", 0.4), row("d", "s", 0.6)]  # 0.4, 0.5 or 0.6
    found = comparisons.unpaired_difference(leaking, honest)
    assert found["gap"] == pytest.approx(0.4)
    # 0.2 and 0.6 have chance 1/16 each, more than 2.5 %
    assert found["gap_ci95"] == pytest.approx([0.2, 0.6])
    assert comparisons.unpaired_difference(leaking, honest[:1])["gap_ci95"] == [None, None]
    # ten patients, half at 0 and half at 1: of ten draws 2 to 8 are 1 but for 1.1 % on each side
    split = [row(str(index), str(index), index % 2) for index in range(10)]
    level = [row("c", "r", 0.5), row("d", "s", 0.5)]
    assert comparisons.unpaired_difference(split, level)["gap_ci95"] == pytest.approx([-0.3, 0.3])
    same = comparisons.paired_on_common(leaking, [row("a", "p", 0.5), row("b", "q", 0.6)])
    assert same["gap"] == pytest.approx(0.35)  # (0.3 + 0.4) / 2


def test_a_summary_keeps_copies_and_patients_apart() -> None:
    rows = [row("a", "p", 0.2), replace(row("a2", "p", 0.4), copy=True), row("b", "q", 0.9)]
    found = summary(rows)
    assert found["dice"]["mean"] == pytest.approx(0.5)
    assert found["dice_originals"] == pytest.approx(0.55)
    assert found["dice_by_patient"] == pytest.approx(0.6)  # (0.3 + 0.9) / 2
    assert summary(rows[:1])["dice"]["ci95"] == [None, None]


def test_frames_are_judged_on_the_grid_of_the_picture() -> None:
    class Bright(torch.nn.Module):
        """Calls what is bright cavity."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 60 * (images - 0.5)

    image = np.zeros((48, 32), np.float32)
    image[12:36, 8:24] = 255
    cine = Cine.of_image(image, Source("picture", "x"))
    found = predict(Bright(), steps_of(TINY)[0].options, cine)
    assert found.shape == (48, 32)
    # the borders lie on those of the coarse pixels (3 rows, 2 columns): the mask comes back whole
    assert np.count_nonzero(found != (image > 0)) <= 8


def test_a_plan_measures_and_writes_nothing(dataset: Path) -> None:
    before = sorted(dataset.rglob("*"))
    plan = make_plan(dataset, TINY, (), "cpu", 1)
    assert len(plan.steps) == len(plan.estimates) == STEPS
    assert plan.total_s > 0
    assert plan.total_s == pytest.approx(plan.data_s + sum(each.total_s for each in plan.estimates))
    longer = {each.key: each for each in plan.estimates}
    assert longer["longer"].training_s == pytest.approx(2 * longer["width"].training_s)
    assert sorted(dataset.rglob("*")) == before


def test_a_plan_leaves_the_threads_as_they_were(dataset: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make_plan(dataset, TINY, ("loss",), "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(
    not os.environ.get("LVSEG_PAPER"), reason="heavy: set LVSEG_PAPER=1 to run it (minutes, 4 GB)"
)
@pytest.mark.parametrize(
    "key", [step.key for step in steps_of(SCALES["paper"]) if step.key.startswith("official-")]
)
def test_one_step_of_training_at_paper_scale(key: str) -> None:
    options = next(step.options for step in steps_of(SCALES["paper"]) if step.key == key)
    torch.manual_seed(0)
    network = build(options.network)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options.learning_rate, momentum=options.momentum, nesterov=True
    )
    image = torch.rand(1, 1, options.frame_px, options.frame_px)
    loss = LOSSES[options.loss](network(image), (image > 0.9).float())
    loss.backward()
    optimizer.step()
    assert 0 < loss.item() < 1
    still = {name for name, new in network.named_parameters() if bool((new == before[name]).all())}
    # a module in front of a decoder block sees means of 0 in the first step, see Recalibration
    assert still <= {
        f"decoder.{level}.attention.{part}.weight"
        for level in range(len(options.network.widths) - 1)
        for part in ("squeeze", "excite")
    }


def test_steps_side_by_side_give_the_same_numbers(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    reproduce(dataset, tmp_path, TINY, device="cpu", jobs=2, only=PAIR, note=notes.append)
    straight = {step["key"]: step["scores"] for step in document(whole)["steps"]}
    for step in document(tmp_path)["steps"]:
        assert step["scores"] == straight[step["key"]]
    assert [note.split("/")[0] for note in notes] == ["1", "2"]


def test_an_error_of_a_process_is_raised_here(dataset: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, splits.make(dataset, tmp_path / "data", TINY, run.SEED), "cpu")
    (tmp_path / "data" / "official" / "manifest.csv").write_text("file,patient_id,split\n")
    pair = [step for step in steps_of(TINY) if step.key in PAIR]
    with pytest.raises(DatasetError):
        run_steps(pair, place, 2, lambda *told: None, lambda step: None)


def test_own_statistics_normalise_as_in_training_and_change_nothing(whole: Path) -> None:
    step = next(step for step in steps_of(TINY) if step.key == "official-unet")
    network, _ = load(whole / "runs" / step.key, torch.device("cpu"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = 3 * torch.rand(1, 1, 16, 16) + 2
    with torch.no_grad():
        judged = network(image)
        trained = copy.deepcopy(network).train()(image)
        own = with_own_statistics(network)(image)
    assert torch.equal(own, trained)
    assert not torch.allclose(own, judged)
    counters = {name for name in before if name.endswith("num_batches_tracked")}
    for name, value in network.state_dict().items():
        assert name in counters or torch.equal(value, before[name])
    found = document(whole)["two_normalisations"]
    assert set(found) == {"encoder-decoder", "se-encoder-decoder", "unet", MODIFIED}
    for each in found.values():
        assert each["own"] - each["running"] == pytest.approx(each["difference"]["dice"])


def test_jobs_are_one_a_processor_unless_told() -> None:
    cpu = torch.device("cpu")
    assert jobs_for(cpu, None) >= 1
    assert jobs_for(cpu, 3) == 3
    assert jobs_for(torch.device("cuda"), 3) == 1
    with pytest.raises(UsageError, match="at least one job"):
        jobs_for(cpu, 0)


def test_peers_differ_from_the_rung_beside_them_in_the_network_only() -> None:
    steps = {step.key: step for step in steps_of(SCALES["small"])}
    for key in PEERS:
        new, old = (steps[name].options.model_dump() for name in (key, COMPARED))
        changed = {name for name in new if new[name] != old[name]} - {"name"}
        assert changed == (set() if key == COMPARED else {"network"})
        assert steps[key].split == "originals"
