"""The hyper-parameter search: its validation patients, what is drawn, stopping and going on."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
optuna = pytest.importorskip("optuna")

from filelock import FileLock  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from matplotlib import pyplot  # noqa: E402
from optuna.distributions import FloatDistribution, IntDistribution  # noqa: E402
from PIL import Image  # noqa: E402
from sqlalchemy import Engine, event  # noqa: E402

from lvseg.errors import UsageError  # noqa: E402
from lvseg.manifest import Sample, patients  # noqa: E402
from lvseg.modelcard import InputSpec  # noqa: E402
from lvseg.train.dataset import load_slices  # noqa: E402
from lvseg.train.network import NetworkOptions  # noqa: E402
from lvseg.train.options import (  # noqa: E402
    TrainOptions,
    load_options,
    preset_names,
    read_preset,
    to_toml,
    write_options,
)
from lvseg.train.run_folder import same_settings  # noqa: E402
from lvseg.train.search import tune as searching  # noqa: E402
from lvseg.train.search.space import Space, choices, default_space, load_space  # noqa: E402
from lvseg.train.search.tune import (  # noqa: E402
    Outcome,
    draw_figure,
    linked_dataset,
    patient_dice,
    split_samples,
    tune,
)
from lvseg.train.validation import load_validation  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

OPTIONS = TrainOptions(
    name="tiny",
    precision="float32",
    validation_split="validation",
    input=InputSpec(spacing_mm=1.3, crop_px=32),
    network=NetworkOptions(widths=(2, 4)),
    epochs=4,
    steps_per_epoch=2,
    batch_size=2,
    warmup_steps=1,
    validate_every=1,
)
SPACE: Space = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": IntDistribution(2, 4),
    "schedule": choices(["cosine", "constant"]),
    "augment.scale": choices([[0.9, 1.1], [0.75, 1.35]]),
}


@pytest.fixture(autouse=True)
def hasty_data_base() -> Iterator[None]:
    """Do not wait for the disk after each line of a study."""

    def relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright squares of 8 x 8; the truth of the last picture is their left half."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    splits = {"p0": "training", "p1": "training", "p2": "validation", "p3": "validation"}
    owners = ["p0", "p0", "p1", "p2", "p2", "p2", "p3"]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(len(owners)):
        image = random.integers(20, 40, (48, 40)).astype(np.uint8)
        mask = np.zeros_like(image)
        image[20:28, 16:24] = 200
        mask[20:28, 16 : 20 if index == 6 else 24] = 255
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = [[f"{i}.png", owner, splits[owner]] for i, owner in enumerate(owners)]
        csv.writer(file).writerows([["file", "patient_id", "split"], *rows])
    return folder


class Bright(torch.nn.Module):
    """Calls everything brighter than half cavity."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Any) -> Any:
        return 100 * (images - self.limit)


def test_every_patient_counts_the_same_however_many_pictures_it_has(dataset: Path) -> None:
    data = load_validation(dataset, "validation", OPTIONS)
    found = patient_dice(Bright(), data, OPTIONS)
    # p2: three pictures, all right. p3: 64 px for 32 true ones: 2 * 32 / (64 + 32) = 2 / 3.
    # Over patients 5 / 6; over pictures it would be 11 / 12.
    assert found == {"p2": 1.0, "p3": pytest.approx(2 / 3)}


def test_a_patient_without_cavity_has_no_score(dataset: Path) -> None:
    data = load_validation(dataset, "validation", OPTIONS)
    masks = [labels * (index % 2 == 0) for index, labels in enumerate(data.labels)]
    found = patient_dice(Bright(), replace(data, labels=tuple(masks)), OPTIONS)
    assert list(found) == ["p2"]


def cases_of(count: int, split: str = "training") -> tuple[Sample, ...]:
    return tuple(Sample(f"{i}-{k}.png", f"p{i}", split) for i in range(count) for k in range(2))


@pytest.mark.parametrize("names", ["online", "training+online", "test", "all", " Test "])
@pytest.mark.parametrize("key", ["train_split", "validation_split"])
def test_a_recipe_that_names_test_patients_is_refused(key: str, names: str) -> None:
    options = OPTIONS.model_copy(update={key: names})
    samples = cases_of(2) + tuple(
        Sample(f"{name}.png", name, name) for name in ("validation", "online", "test")
    )
    with pytest.raises(UsageError, match=f"leaves test patients alone, found {key}"):
        split_samples(samples, options, 0)


def test_patients_on_both_sides_are_refused() -> None:
    options = OPTIONS.model_copy(update={"validation_split": "training"})
    with pytest.raises(UsageError, match="found 3 in both"):
        split_samples(cases_of(3), options, 0)


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (5, 1), (10, 2), (11, 3)])
def test_without_validation_split_whole_training_patients_are_held_out(
    count: int, held_out: int
) -> None:
    options = OPTIONS.model_copy(update={"validation_split": None})
    samples = (*cases_of(count), Sample("t.png", "kept", "online"))
    divided = split_samples(samples, options, 3)
    out = {sample.patient_id for sample in divided if sample.split == "validation"}
    taught = {sample.patient_id for sample in divided if sample.split == "training"}
    assert len(out) == held_out
    assert not out & taught
    assert out | taught == set(patients(cases_of(count)))
    assert len(divided) == 2 * count
    if count == 10:
        assert any(split_samples(samples, options, seed) != divided for seed in range(9))


@pytest.mark.parametrize("facts", [True, False])
def test_a_linked_data_set_has_the_same_images_and_facts_and_a_manifest_of_its_own(
    dataset: Path, tmp_path: Path, facts: bool
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("images", "masks"):
        (source / name).symlink_to(dataset / name)
    if facts:
        (source / "dataset.json").write_text('{"name": "squares"}')
    for _ in range(2):  # a search that goes on makes it again
        linked_dataset(source, [Sample("0.png", "p0", "training")], tmp_path / "data")
    made = {each.name for each in (tmp_path / "data").iterdir()}
    assert made == {"images", "masks", "manifest.csv"} | ({"dataset.json"} if facts else set())
    assert len(load_slices(tmp_path / "data", "training", OPTIONS).samples) == 1
    if facts:
        assert "squares" in (tmp_path / "data" / "dataset.json").read_text()


def test_settings_of_a_folder_are_compared_as_json_has_them(tmp_path: Path) -> None:
    stored = same_settings(tmp_path, "search", {"seed": 1, "pair": (1, 2)}, None)
    assert stored == {"seed": 1, "pair": [1, 2]}
    assert same_settings(tmp_path, "search", {"seed": 1, "pair": (1, 2)}, stored) == stored
    with pytest.raises(UsageError, match=r"expected the search that .*, found another pair, new:"):
        same_settings(tmp_path, "search", {"seed": 1, "pair": (1, 3), "new": 0}, stored)


def test_augmented_copies_teach_but_do_not_judge() -> None:
    copies = tuple(replace(c, extra=(("original", "x"),)) for c in cases_of(6) if "-1" in c.file)
    originals = tuple(sample for sample in cases_of(6) if "-0" in sample.file)
    options = OPTIONS.model_copy(update={"validation_split": None})
    divided = split_samples(originals + copies, options, 0)
    assert any("-1" in sample.file for sample in divided if sample.split == "training")
    assert not any("-1" in sample.file for sample in divided if sample.split == "validation")


Score = Callable[[TrainOptions, int], float]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Score], list[TrainOptions]]:
    """Replace the training by a formula of options and epoch; returns the options trained."""

    def install(score: Score) -> list[TrainOptions]:
        trained: list[TrainOptions] = []
        now: dict[str, int] = {}

        def fit(options: TrainOptions, data: Path, run: Path, *, report: Any) -> Path:
            trained.append(options)
            run.mkdir(parents=True)
            for epoch in range(1, options.epochs + 1):
                now["epoch"] = epoch
                report(epoch, options.epochs, {"loss": 0.0})
            return run

        monkeypatch.setattr(searching, "fit", fit)
        monkeypatch.setattr(searching.checkpoint, "load_ema", lambda *_: None)
        monkeypatch.setattr(searching, "build", lambda *_: torch.nn.Identity())
        monkeypatch.setattr(searching, "draw_figure", lambda path, *_: path)
        monkeypatch.setattr(
            searching, "patient_dice", lambda *_: {"a": score(trained[-1], now["epoch"])}
        )
        return trained

    return install


def likes_a_rate_of_one_percent(options: TrainOptions, epoch: int) -> float:
    return 0.9 - 0.2 * abs(np.log10(options.learning_rate) + 2) - 0.01 * (4 - epoch)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def drawn(folder: Path) -> list[tuple[str, ...]]:
    """What the trials that count were and gave."""
    keys = ("state", "score", "epochs", *SPACE)
    return [tuple(r[k] for k in keys) for r in rows(folder) if r["state"] != "interrupted"]


def test_the_search_finds_the_good_rate_and_writes_it_down(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    trained = pretend(likes_a_rate_of_one_percent)
    found = tune(OPTIONS, dataset, tmp_path, trials=14, space=SPACE, seed=1)
    # The recipe: rate 0.002, so 0.9 - 0.2 * 0.699 = 0.7602.
    assert found.baseline_value == pytest.approx(0.7602, abs=1e-4)
    assert found.best_value > 0.85
    best = load_options(tmp_path / "best.toml")
    assert likes_a_rate_of_one_percent(best, 4) == pytest.approx(found.best_value)
    assert best.name == "tiny-tuned"
    assert (best.train_split, best.validation_split) == ("training", "validation")
    same = {"name", "learning_rate", "batch_size", "schedule", "augment"}
    assert best.model_dump(exclude=same) == OPTIONS.model_dump(exclude=same)
    assert {options.validation_split for options in trained} == {None}
    assert [each.name for each in (tmp_path / "runs").iterdir()] == [f"{found.best_trial:04d}"]

    # Below the median of the others a trial ends early, but none of the first five does.
    listed = rows(tmp_path)
    assert (found.trials, found.failed, found.patients) == (14, 0, 2)
    assert found.completed + found.pruned == 14
    assert found.pruned > 0
    assert {row["state"] for row in listed[:5]} == {"complete"}
    assert all(row["epochs"] == "2" for row in listed if row["state"] == "pruned")
    assert all(row["epochs"] == "4" for row in listed if row["state"] == "complete")


def test_a_search_that_was_stopped_three_times_makes_the_same_trials(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    pretend(likes_a_rate_of_one_percent)
    tune(OPTIONS, dataset, tmp_path / "straight", trials=8, space=SPACE, seed=5)
    halved = tmp_path / "halved"
    seconds = iter(range(1000))  # how often an epoch 2 was reached

    def stop(options: TrainOptions, epoch: int) -> float:
        if epoch == 2 and next(seconds) in (0, 3, 8):  # in the first, the third, the seventh
            raise KeyboardInterrupt
        return likes_a_rate_of_one_percent(options, epoch)

    pretend(stop)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tune(OPTIONS, dataset, halved, trials=8, space=SPACE, seed=5)
        assert len([*(halved / "runs").iterdir()]) <= 1  # the best; none of the one cut off
    assert tune(OPTIONS, dataset, halved, trials=8, space=SPACE, seed=5).trials == 8
    assert drawn(halved) == drawn(tmp_path / "straight")
    states = [row["state"] for row in rows(halved)]
    assert [n for n, state in enumerate(states) if state == "interrupted"] == [0, 3, 8]


def test_a_killed_trial_is_marked_and_its_run_removed(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    pretend(likes_a_rate_of_one_percent)
    tune(OPTIONS, dataset, tmp_path, trials=2, space=SPACE)
    study = optuna.load_study(study_name="lvseg", storage=f"sqlite:///{tmp_path}/study.db")
    number = study.ask().number  # nobody tells how it ended
    (tmp_path / "runs" / f"{number:04d}").mkdir()
    assert tune(OPTIONS, dataset, tmp_path, trials=3, space=SPACE).trials == 3
    states = [row["state"] for row in rows(tmp_path)]
    assert states == ["complete", "complete", "interrupted", "complete"]
    assert not (tmp_path / "runs" / f"{number:04d}").exists()


def test_a_space_without_the_recipe_has_no_score_of_the_recipe(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    pretend(likes_a_rate_of_one_percent)
    space = {
        "learning_rate": FloatDistribution(0.01, 0.02),
        "ema_decay": FloatDistribution(0.5, 0.999),
    }
    found = tune(OPTIONS, dataset, tmp_path, trials=1, space=space)
    assert found.baseline_value is None
    assert found.parameters["ema_decay"] == OPTIONS.ema_decay
    assert 0.01 <= found.parameters["learning_rate"] <= 0.02


def test_a_draw_that_breaks_counts_and_a_recipe_that_breaks_ends_the_search(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    notes: list[str] = []

    def small_memory(options: TrainOptions, epoch: int) -> float:
        if options.learning_rate != OPTIONS.learning_rate:
            raise RuntimeError("out of\nmemory")
        return 0.5

    pretend(small_memory)
    found = tune(OPTIONS, dataset, tmp_path, trials=3, space=SPACE, note=notes.append)
    assert (found.completed, found.failed, found.best_trial) == (1, 2, 0)
    assert rows(tmp_path)[1]["note"] == "out of memory"
    assert "failed" in notes[1]
    pretend(lambda options, epoch: [][0])
    with pytest.raises(IndexError):
        tune(OPTIONS, dataset, tmp_path / "other", trials=3, space=SPACE)


def test_time_is_up_before_the_next_trial_not_before_the_first(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    pretend(likes_a_rate_of_one_percent)
    for done in (1, 2):
        assert tune(OPTIONS, dataset, tmp_path, trials=9, space=SPACE, minutes=0).trials == done


def test_a_folder_belongs_to_one_search(
    dataset: Path, tmp_path: Path, pretend: Callable[[Score], list[TrainOptions]]
) -> None:
    trained = pretend(likes_a_rate_of_one_percent)
    tune(OPTIONS, dataset, tmp_path, trials=1, space=SPACE)
    with pytest.raises(UsageError, match="found another seed: name a new folder"):
        tune(OPTIONS, dataset, tmp_path, trials=2, space=SPACE, seed=9)
    longer = OPTIONS.model_copy(update={"epochs": 9})
    with pytest.raises(UsageError, match="found another recipe, space"):
        tune(
            longer,
            dataset,
            tmp_path,
            trials=2,
            space={**SPACE, "batch_size": IntDistribution(2, 8)},
        )
    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="one going on"):
        tune(OPTIONS, dataset, tmp_path, trials=2, space=SPACE)
    assert len(trained) == 1
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.db").write_text("no data base, but long enough to be read as one")
    with pytest.raises(UsageError, match=r"expected the file of a search in .*study\.db"):
        tune(OPTIONS, dataset, tmp_path / "broken", trials=1, space=SPACE)


def test_a_real_search_of_two_trials_leaves_a_run_and_a_configuration(
    dataset: Path, tmp_path: Path
) -> None:
    options = OPTIONS.model_copy(update={"epochs": 2})
    stages: list[tuple[str, int, int]] = []
    found: Outcome = tune(
        options,
        dataset,
        tmp_path,
        trials=2,
        space=SPACE,
        report=lambda *stage: stages.append(stage),
    )
    assert 0 <= found.best_value <= 1
    assert stages[-1] == ("trial 2/2, epoch 2/2", 4, 4)
    assert (found.files["run"] / "last.safetensors").is_file()
    assert load_options(found.files["best.toml"]).epochs == 2
    with Image.open(found.files["trials.png"]) as picture:
        assert picture.width > 1000
    assert pyplot.get_fignums() == []
    again = tune(options, dataset, tmp_path, trials=2, space=SPACE)  # nothing left to do
    assert again == found


def test_the_figure_of_one_trial_has_what_can_be_drawn(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask({"learning_rate": SPACE["learning_rate"]}), 0.5)
    before = dict(pyplot.rcParams)
    with Image.open(draw_figure(tmp_path / "trials.png", study)) as picture:
        assert picture.height > 500
    assert dict(pyplot.rcParams) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('peak_rat = {low=0.1, high=0.2}', "key 'peak_rat': Extra inputs"),
        ('"augment.wobble" = {low=0.1, high=0.2}', "key 'augment.wobble': Extra inputs"),
        ('"learning_rate.x" = {low=0.1, high=0.2}', "'learning_rate.x': there is none inside"),
        ('schedule = {choices=["cosine", "magic"]}', "key 'schedule': Input should be 'cosine'"),
        ("batch_size = {low=2, high=8.5}", "key 'batch_size': Input should be a valid integer"),
        ("learning_rate = {low=0.2, high=0.1}", "low < high"),
        ("learning_rate = {low=0, high=0.1, log=true}", "above 0"),
        ("learning_rate = {low=0.1}", "low and high, or choices"),
        ("learning_rate = {low=0.1, high=0.2, choices=[1]}", "low and high, or choices"),
        ("learning_rate = {low=0.1, high=0.2, steps=3}", '{"low": 0.1, "high": 0.2, "steps": 3}'),
        ("learning_rate = 3", "key 'learning_rate': expected low and high, or choices"),
        ("batch_size = {low=true, high=8}", "low and high, or choices"),
        ("batch_size = {choices=[2, 4], log=true}", "low and high, or choices"),
        ("schedule = {choices=[]}", "at least one choice"),
        ('train_split = {choices=["training", "online"]}', "a validation score cannot choose"),
        ("seed = {low=1, high=9}", "a validation score cannot choose"),
        ("", "one table"),
        ("learning_rate = {", "as TOML"),
    ],
)  # fmt: skip
def test_a_faulty_space_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(f"[space]\n{text}\n")
    with pytest.raises(UsageError) as caught:
        load_space(path, OPTIONS)
    assert message in str(caught.value)
    assert "space.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_is_read_with_and_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        "[space]\n"
        '"augment.shift_px" = {low=0, high=30}\n'
        "augment.noise.1 = {low=0.01, high=0.1, log=true}\n"
        "batch_size = {low=2, high=8}\n"
        "schedule = {choices=['cosine', 'constant']}\n"
    )
    assert load_space(path, OPTIONS) == {
        "augment.shift_px": FloatDistribution(0, 30),  # a real number, though the ends are whole
        "augment.noise.1": FloatDistribution(0.01, 0.1, log=True),
        "batch_size": IntDistribution(2, 8),
        "schedule": choices(["cosine", "constant"]),
    }


def test_options_that_need_each_other_may_be_searched_together(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(
        update={"network": NetworkOptions(kind="encoder-decoder", widths=(2, 4))}
    )
    path = tmp_path / "space.toml"
    gates, skips = ("network.gates = {choices=[true, false]}", "network.skips = {choices=[true]}")
    path.write_text(f"[space]\n{gates}\n")
    with pytest.raises(UsageError, match="attention gates stand on skips"):
        load_space(path, options)
    path.write_text(f"[space]\n{gates}\n{skips}\n")
    assert len(load_space(path, options)) == 2


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_searched_and_written_down(name: str, tmp_path: Path) -> None:
    options = read_preset(name)
    space = default_space(options)
    assert {"learning_rate", "weight_decay", "batch_size"} <= set(space)
    path = write_options(tmp_path / "best.toml", options, ["a remark"])
    assert load_options(path) == options
    assert path.read_text().startswith("# a remark\n")


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["C"]), max_size=8),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
names = st.text("abc_", min_size=1, max_size=4)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.dictionaries(names, values | st.dictionaries(names, values, max_size=3), max_size=4))
def test_what_is_written_as_toml_reads_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table
