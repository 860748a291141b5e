"""The loop: it learns, it refuses, and what it exports is what it trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from train_maker import larger_options, make_dataset, make_larger_dataset, make_three_splits  # noqa: E402

from lvseg.errors import ModelError, ReadError, UsageError  # noqa: E402
from lvseg.labels import Label  # noqa: E402
from lvseg.manifest import DatasetFacts, write_dataset_facts  # noqa: E402
from lvseg.predict import load_model  # noqa: E402
from lvseg.train import checkpoint, trainer  # noqa: E402
from lvseg.train import dataset as dataset_module  # noqa: E402
from lvseg.train.augment import AugmentOptions  # noqa: E402
from lvseg.train.dataset import Slices, draw_order, load_slices, nested  # noqa: E402
from lvseg.train.export import check_parity, export  # noqa: E402
from lvseg.train.log import read_log  # noqa: E402
from lvseg.train.network import NetworkOptions, build, count_parameters  # noqa: E402
from lvseg.train.options import TrainOptions, load_options, preset_names, read_preset  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    # torch's own exporter and its dependencies announce changes of theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

OPTIONS = larger_options(
    validation_split="validation",
    network=NetworkOptions(widths=(4, 8, 8, 8, 8)),
    epochs=3,
    steps_per_epoch=4,
    validate_every=1,
)


def fit(options: TrainOptions, dataset: Path, run: Path, **how: Any) -> Path:
    return trainer.fit(options, dataset, run, device="cpu", **how)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_larger_dataset(tmp_path_factory.mktemp("data"))


def test_slices_carry_centres_and_empties(dataset: Path) -> None:
    slices = load_slices(dataset, "training", OPTIONS)
    assert slices.images.shape == (9, 48, 40)
    assert slices.shown.tolist() == [[number] for number in range(9)]
    assert slices.empty.tolist() == [False, True, *[False] * 7]
    assert slices.centres[0].tolist() == pytest.approx([20, 22])
    assert slices.centres[1].tolist() == [23.5, 19.5]  # the picture's centre
    assert len(set(slices.sha256)) == 9


def test_channels_show_the_other_phase_and_the_slices_beside(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data")
    lines = (folder / "manifest.csv").read_text().splitlines()
    fields = lines[0].split(",")
    rows = [dict(zip(fields, line.split(","), strict=True)) for line in lines[1:5]]
    places = [("ED", 4), ("ES", 6), ("ED", 6), ("ED", 9)]  # nothing of slices 4 and 9 at ES
    for row, (phase, index) in zip(rows, places, strict=True):
        row |= {"patient_id": "p0", "split": "training", "phase": phase, "slice_index": str(index)}
    names = [*dict.fromkeys([*fields, "phase", "slice_index"])]
    text = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(text) + "\n")
    channels = ("frame", "opposite-phase", "slice-before", "slice-after")
    options = OPTIONS.model_copy(
        update={"input": OPTIONS.input.model_copy(update={"channels": channels})}
    )
    slices = load_slices(folder, "training", options)
    # phases ED, ES of slices 4, 6, 9: [[0, 2, 3], [0, 1, 3]]
    assert slices.shown.tolist() == [[0, 0, 0, 2], [1, 2, 0, 3], [2, 1, 0, 3], [3, 3, 2, 3]]


def test_masks_of_another_tool_train_by_what_is_said_of_their_values(
    dataset: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    for path in (other / "masks").iterdir():
        mask = np.asarray(Image.open(path)) // 255 * 3
        mask[0, :2] = 4  # what nobody named is background
        Image.fromarray(mask.astype(np.uint8)).save(path)
    with pytest.raises(ReadError, match="--label cavity=VALUE"):
        load_slices(other, "training", OPTIONS)
    said = OPTIONS.with_label_values({3: Label.LV_CAVITY})
    assert said.label_values == {"LV_CAVITY": (3,)}
    ours, theirs = load_slices(dataset, "training", OPTIONS), load_slices(other, "training", said)
    assert torch.equal(ours.targets, theirs.targets)
    with pytest.raises(ValueError, match="each of one label"):
        TrainOptions(name="x", label_values={"LV_CAVITY": (3, 3)})


def test_another_seed_gives_other_weights(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1})
    runs = [
        fit(short.model_copy(update={"seed": seed}), dataset, tmp_path / str(seed))
        for seed in (1, 2)
    ]
    first, second = (load_file(run / "last.safetensors") for run in runs)
    assert any(not torch.equal(value, second[key]) for key, value in first.items())


def test_a_run_starts_from_another_and_says_so(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1, "learning_rate": 0.0, "weight_decay": 0.0})
    first = fit(OPTIONS.model_copy(update={"epochs": 1}), dataset, tmp_path / "first")
    second = fit(short, dataset, tmp_path / "second", init_from=first)
    before, after = (load_file(run / "best.safetensors") for run in (first, second))
    for key, value in before.items():
        if key.startswith("ema.") and key.endswith("weight"):  # at rate 0 nothing moves them
            torch.testing.assert_close(after[key], value)
    record = checkpoint.read_options(second, "best")[2]
    assert record["started_from"] == "tiny, 4 steps"
    assert record["patients"] == ["p0", "p1", "p2"]


def test_a_resumed_run_keeps_what_trained_it_and_takes_no_other_data(
    dataset: Path, tmp_path: Path
) -> None:
    one = OPTIONS.model_copy(update={"epochs": 1})
    first = fit(one, make_three_splits(tmp_path / "other"), tmp_path / "first")
    run = tmp_path / "run"

    def stop(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(OPTIONS, dataset, run, init_from=first, report=stop)
    before = checkpoint.read_options(run)[2]
    assert before["started_from"] == "tiny, 4 steps"
    with pytest.raises(UsageError, match="on other data"):
        fit(OPTIONS, make_dataset(tmp_path / "third"), run, resume=True)
    fit(OPTIONS, dataset, run, resume=True)  # without init_from: the weights are there
    assert checkpoint.read_options(run)[2] == before
    assert {"made-up-0", "p0"} <= set(before["patients"])


def test_small_cavities_and_empty_frames_are_drawn_by_weight(dataset: Path) -> None:
    data = load_slices(dataset, "training", OPTIONS)
    options = OPTIONS.model_copy(
        update={"empty_weight": 3.0, "small_px": 100.0, "small_weight": 2.0}
    )
    order = draw_order(trainer._weights(data, options), 200, torch.Generator().manual_seed(0))
    counts = torch.bincount(order, minlength=9)
    # radius 5 -> about 78 pixels is small, radius 6 -> about 113 is not; picture 1 is empty
    areas = data.targets.sum((1, 2, 3))
    weights = torch.where(data.empty, 3.0, torch.where(areas < 100, 2.0, 1.0))
    assert set(weights.tolist()) == {1.0, 2.0, 3.0}
    torch.testing.assert_close(counts / counts.sum(), weights / weights.sum(), atol=0.02, rtol=0)


def test_it_learns_a_bright_disc(dataset: Path, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(
        update={
            "epochs": 2,
            "steps_per_epoch": 40,
            "validate_every": 2,
            "learning_rate": 0.01,
            "ema_decay": 0.8,
            "augment": AugmentOptions(elastic_px=1, bias=0.1, noise=(0, 0.02), shift_px=4),
        }
    )
    run = fit(options, dataset, tmp_path / "run")
    progress = checkpoint.read_options(run, "best")[1]
    assert progress.best_dice is not None
    assert progress.best_dice > 0.8


def test_a_folder_that_holds_a_run_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1})
    fit(short, dataset, tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        fit(short, dataset, tmp_path / "run")
    with pytest.raises(UsageError, match="other options"):
        fit(OPTIONS, dataset, tmp_path / "run", resume=True)


def test_export_is_whole_and_agrees_with_torch(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1})
    folder = export(fit(short, dataset, tmp_path / "run"), tmp_path / "model")
    assert sorted(file.name for file in folder.iterdir()) == [
        "card.json",
        "model.onnx",
        "model.safetensors",
    ]
    weights = (folder / "model.onnx").read_bytes()
    assert b"site-packages" not in weights  # nothing about the computer that exported it
    assert b".py" not in weights
    card = load_model(folder, runtime="onnxruntime").card
    assert card.training.patients == ("p0", "p1", "p2")
    assert card.input == short.input
    network = build(short.network)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    assert card.parameters == count_parameters(network)
    assert check_parity(network.eval(), folder) < 1e-3
    with torch.no_grad():
        next(iter(network.parameters())).add_(1.0)
    with pytest.raises(ModelError, match="agree"):
        check_parity(network, folder)
    with pytest.raises(UsageError, match="--overwrite"):
        export(tmp_path / "run", folder)
    (folder / "model.onnx").write_bytes(b"")
    export(tmp_path / "run", folder, overwrite=True)
    assert (folder / "model.onnx").read_bytes() == weights


FACTS = DatasetFacts("Discs", "CC0-1.0", "Nobody 2026", "A desk", ("Discs only.",), "filled")


def test_a_card_says_what_the_data_set_says_of_itself(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1})
    known = shutil.copytree(dataset, tmp_path / "data")
    write_dataset_facts(FACTS, known)
    run = fit(short, known, tmp_path / "run")
    assert checkpoint.read_options(run, "best")[2]["dataset"] == FACTS.to_dict()
    card = load_model(export(run, tmp_path / "model"), runtime="onnxruntime").card
    training = card.training
    assert (training.name, training.licence, training.centre) == ("Discs", "CC0-1.0", "A desk")
    assert (training.citation, training.outline_rule) == ("Nobody 2026", "filled")
    assert card.limits == training.limits == ("Discs only.",)
    assert card.output.labels == ("LV_CAVITY",)
    assert "left ventricle cavity" in card.intended_use

    # a run that starts from it on data of unknown origin says both
    second = fit(short, dataset, tmp_path / "second", init_from=run)
    joined = checkpoint.read_options(second, "best")[2]["dataset"]
    assert (joined["licence"], joined["limits"]) == ("CC0-1.0; unknown", ["Discs only."])


def test_a_card_of_data_that_says_nothing_guesses_nothing(dataset: Path, tmp_path: Path) -> None:
    run = fit(OPTIONS.model_copy(update={"epochs": 1}), dataset, tmp_path / "run")
    document = json.loads((run / "best.json").read_text())
    del document["data"]["dataset"]  # as in a run that noted none
    (run / "best.json").write_text(json.dumps(document))
    card = load_model(export(run, tmp_path / "model"), runtime="onnxruntime").card
    assert {card.training.name, card.training.licence, card.training.centre} == {"unknown"}
    assert card.limits == ()


def test_a_crop_of_one_multiple_of_the_network_can_be_exported(
    dataset: Path, tmp_path: Path
) -> None:
    small = OPTIONS.input.model_copy(update={"crop_px": OPTIONS.input.multiple_px})
    short = OPTIONS.model_copy(update={"epochs": 1, "input": small})
    folder = export(fit(short, dataset, tmp_path / "run"), tmp_path / "model")
    assert load_model(folder).card.input.crop_px == small.multiple_px


def test_export_never_replaces_a_folder_that_is_no_model(dataset: Path, tmp_path: Path) -> None:
    short = OPTIONS.model_copy(update={"epochs": 1})
    run = fit(short, dataset, tmp_path / "run")
    with pytest.raises(UsageError, match=r"no card\.json"):
        export(run, run, overwrite=True)
    assert (run / "best.json").is_file()


def test_export_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"best\.json"):
        export(tmp_path, tmp_path / "model")


def test_presets_parse_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    assert "lv-sax-30" in preset_names()
    for name in preset_names():
        assert read_preset(name).name == name
    (tmp_path / "bad.toml").write_text('name = "x"\nlerning_rate = 1\n')
    with pytest.raises(UsageError, match="lerning_rate"):
        load_options(tmp_path / "bad.toml")
    (tmp_path / "old.toml").write_text('name = "x"\nframe = "whole"\n')
    with pytest.raises(UsageError, match=r"'frame': no longer an option.*lvseg reproduce"):
        load_options(tmp_path / "old.toml")
    with pytest.raises(UsageError, match="presets"):
        read_preset("nonsense")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("peak_rate = 0.1", "'peak_rate' is called 'learning_rate' now"),
        ("scout_every = 4", "'scout_every' is called 'locate_every' now"),
        ("input = {spacing_mm = 1.0, window_px = 96}", "'window_px' is called 'crop_px' now"),
        ('network = {normalisation = "group"}', "'normalisation' is called 'normalization' now"),
        ('optimiser = "sgd"', "'optimiser': no longer an option of lvseg train"),
        ('labels = ["LV_CAVITY", "LIVER"]', "key 'labels': .*must be some of LV_CAVITY"),
        ("labels = []", "key 'labels': .*must be some of LV_CAVITY"),
    ],
)
def test_an_old_or_wrong_option_is_refused_in_one_line(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(f'name = "x"\n{text}\n')
    with pytest.raises(UsageError, match=words) as caught:
        load_options(tmp_path / "recipe.toml")
    assert "recipe.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_are_nested_the_innermost_label_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "Label", {"CAVITY": 1, "WALL": 2})
    labels = np.array([[0, 2, 1, 1, 2]], np.uint8)
    found = nested(labels, ("CAVITY", "WALL"))
    assert found.dtype == np.float32
    assert found.tolist() == [[[0, 0, 1, 1, 0]], [[0, 1, 1, 1, 1]]]


def test_a_second_label_is_trained_and_reported_beside_the_first(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer.load_slices

    def with_wall(folder: Path, split: str, options: TrainOptions) -> Slices:
        data = real(folder, split, OPTIONS)
        grown = torch.nn.functional.max_pool2d(data.targets, 5, 1, 2)
        return replace(data, targets=torch.cat([data.targets, grown], 1))

    monkeypatch.setattr(trainer, "load_slices", with_wall)
    options = OPTIONS.model_copy(
        update={"epochs": 1, "validation_split": None, "labels": ("LV_CAVITY", "WALL")}
    )
    run = fit(options, dataset, tmp_path / "run")
    (row,) = read_log(run)
    single = [row["training_dice_lv_cavity"], row["training_dice_wall"]]
    assert row["training_dice"] == pytest.approx(sum(single) / 2)
    head = (run / "log.csv").read_text().splitlines()[0]
    assert head.endswith(
        "training_dice_lv_cavity,training_dice_wall,training_jaccard_lv_cavity,training_jaccard_wall"
    )


def test_checkpoint_json_names_patients_and_versions(dataset: Path, tmp_path: Path) -> None:
    run = fit(OPTIONS.model_copy(update={"epochs": 1}), dataset, tmp_path / "run")
    document = json.loads((run / "last.json").read_text())
    assert document["data"]["patients"] == ["p0", "p1", "p2"]
    assert document["versions"]["torch"].startswith("2.")
    assert not list(run.glob("*.p*t*"))  # no pickles
