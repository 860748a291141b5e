"""The other commands on phantom data: what they print and how they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from command_line import Ended
from PIL import Image

from lvseg import model_store
from lvseg.batch import Entry
from lvseg.cine import Cine, Mask
from lvseg.cli.demo import COMPARED, demo_document, demo_text
from lvseg.cli.options import optional_libraries
from lvseg.errors import MissingExtraError
from lvseg.phantom import Truth
from lvseg.write import write_mask

Command = Callable[..., Ended]


@pytest.fixture
def reference(phantom: tuple[Cine, Mask, Truth], tmp_path: Path) -> Path:
    """The true mask of the phantom as NIfTI."""
    cine, mask, _ = phantom
    path = tmp_path / "reference.nii.gz"
    write_mask(mask, path, cine.source, times_ms=cine.times_ms)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures of three patients with their masks."""
    rows, columns = np.ogrid[:72, :64]
    random = np.random.default_rng(3)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for patient in ("p1", "p2", "p3"):
        for number in (1, 2):
            centre = random.integers(20, 44, 2)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (9 + number) ** 2
            # Coarse random squares: no two pictures look alike.
            noise = np.kron(random.integers(0, 60, (9, 8)), np.ones((8, 8)))
            name = f"{patient}_{number}.png"
            image = (np.where(disc, 200, 20) + noise).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / name)
            Image.fromarray((disc * 255).astype(np.uint8)).save(tmp_path / "masks" / name)
    return tmp_path / "images", tmp_path / "masks"


@pytest.fixture
def dataset(pictures: tuple[Path, Path], tmp_path: Path, lvseg_command: Command) -> Path:
    """The same as a data set folder, made by the command."""
    folder = tmp_path / "dataset"
    splits = "training=0.7,test=0.3"
    ended = lvseg_command("prepare", "images", *pictures, "-o", folder, "--splits", splits)
    assert ended.status == 0, ended.err
    assert f"{folder}: 6 images of 3 patients" in ended.out
    return folder


def test_list_marks_the_cine(phantom_dicom: Path, lvseg_command: Command) -> None:
    ended = lvseg_command("list", phantom_dicom)
    assert (ended.status, ended.err) == (0, "")
    head, line = ended.out.splitlines()
    assert "slices x phases" in head
    assert line.startswith("*")
    assert "6 x 4" in line
    assert "1.90 x 1.70" in line


def test_list_as_json(phantom_dicom: Path, lvseg_command: Command) -> None:
    (series,) = lvseg_command("list", phantom_dicom, "--json").document["series"]
    assert (series["slices"], series["phases"], series["chosen"]) == (6, 4, True)


def test_measure_finds_the_true_volumes(
    reference: Path, phantom: tuple[Cine, Mask, Truth], lvseg_command: Command
) -> None:
    ended = lvseg_command("measure", reference, "--json")
    assert (ended.status, ended.err) == (0, "")
    truth, found = phantom[2], ended.document
    # A mask of whole pixels on slabs of 16 mm; the closed form knows neither.
    assert found["edv_ml"] == pytest.approx(truth.edv_ml, rel=0.06)
    assert found["ef_percent"] == pytest.approx(truth.ef_percent, abs=3)
    assert len(found["volume_ml"]) == 4
    text = lvseg_command("measure", reference).out
    assert f"EDV {found['edv_ml']:.1f} ml" in text
    assert "ml by phase:" in text


def test_measure_with_the_cine_checks_the_result_too(
    reference: Path, phantom_dicom: Path, lvseg_command: Command
) -> None:
    ended = lvseg_command("measure", reference, "--cine", phantom_dicom, "--json")
    assert ended.status == 0, ended.err
    assert ended.document["quality"]["verdict"] in {"pass", "review", "fail"}


def test_measure_speaks_like_measurements_json(
    reference: Path, phantom_dicom: Path, lvseg_command: Command
) -> None:
    for more in ((), ("--cine", phantom_dicom)):
        found = lvseg_command("measure", reference, *more, "--json").document
        study = found["study"]
        assert (study["pixel_spacing_mm"], study["slice_spacing_mm"]) == ([1.9, 1.7], 16.0)
        assert found["edv_ml"] == round(found["edv_ml"], 2)
        assert found["phase_index"] == [0, 1, 2, 3]


def test_measure_takes_settings_with_and_without_the_cine(
    reference: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    """The phantom has four phases: too few for rates, unless the settings say otherwise."""
    (tmp_path / "s.toml").write_text("[measurement]\nrates_from_phases = 4\n")
    for more in ((), ("--cine", phantom_dicom)):
        call = ("measure", reference, *more)
        assert "too few for peak ejection" in lvseg_command(*call).out
        ended = lvseg_command(*call, "--settings", tmp_path / "s.toml")
        assert ended.status == 0, ended.err
        assert "too few for peak ejection" not in ended.out


def test_measure_with_the_cine_checks_by_the_limits_of_the_settings(
    reference: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    (tmp_path / "s.toml").write_text("[limits]\nef_percent = [70.0, 85.0]\n")
    call = ("measure", reference, "--cine", phantom_dicom)
    assert "outside the usual" not in lvseg_command(*call).out
    ended = lvseg_command(*call, "--settings", tmp_path / "s.toml")
    assert "An ejection fraction of 60 % is outside the usual 70 to 85 %." in ended.out


@pytest.mark.parametrize("text", [None, "flips = ", "flop = true", "flips = 'often'"])
@pytest.mark.parametrize("command", ["segment", "measure", "evaluate"])
def test_settings_that_cannot_be_used_are_2(
    command: str, text: str | None, phantom_dicom: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    if text is not None:
        (tmp_path / "s.toml").write_text(text)
    options = {
        "segment": ("segment", phantom_dicom, "-o", tmp_path / "out"),
        "measure": ("measure", phantom_dicom),
        "evaluate": ("evaluate", "--data", tmp_path, "--split", "all"),
    }
    ended = lvseg_command(*options[command], "--settings", tmp_path / "s.toml")
    assert ended.status == 2
    assert "s.toml" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_compare_shows_an_agreement_of_zero_points(reference: Path, lvseg_command: Command) -> None:
    assert (
        "EF, percentage points: bias 0.00, mae 0.00"
        in lvseg_command("compare", reference, reference).out
    )


def test_compare_of_a_mask_with_itself_is_perfect(reference: Path, lvseg_command: Command) -> None:
    ended = lvseg_command("compare", reference, reference, "--json")
    assert (ended.status, ended.err) == (0, "")
    found = ended.document
    assert found["dice"]["mean"] == 1
    assert found["hd95_mm"]["mean"] == 0
    assert found["leaked_patients"] == []
    table = lvseg_command("compare", reference, reference)
    assert "images of 1 patients" in table.out


def test_masks_of_other_tools_are_measured_and_compared_with_label(
    reference: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    ours = nib.load(reference)
    inside = np.asarray(ours.dataobj)
    values = np.where(inside == 1, 3, 0).astype(np.uint8)
    values[:5, :5], values[5:8, :5] = 1, 2
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(values, ours.affine, ours.header), other)
    asked = lvseg_command("measure", other)
    assert (asked.status, asked.out) == (3, "")
    assert "found 0, 1, 2, 3 in" in asked.err
    assert "say which value is the cavity with --label cavity=VALUE" in asked.err
    assert asked.err.count("\n") == 1
    volumes = [
        lvseg_command("measure", *given, "--json").document["volume_ml"]
        for given in ([reference], [other, "--label", "cavity=3"])
    ]
    assert volumes[0] == volumes[1]
    found = lvseg_command("compare", reference, other, "--label", "cavity=3", "--json").document
    assert found["dice"]["mean"] == 1
    assert [each["code"] for each in found["findings"]] == ["labels-as-they-are"]


def test_the_demo_compares_true_and_measured(
    phantom: tuple[Cine, Mask, Truth],
    tiny_model: Path,
    tmp_path: Path,
    lvseg_command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lvseg.phantom.beating_ventricle", lambda: phantom)
    ended = lvseg_command("demo", "-o", tmp_path / "demo", "--model", tiny_model, "--json")
    assert ended.status == 0, ended.err
    found = ended.document
    compared = {"edv_ml", "esv_ml", "ef_percent", "mass_g"}
    assert set(found["true"]) == set(found["measured"]) == set(found["limits"]) == compared
    assert found["true"]["edv_ml"] == phantom[2].edv_ml
    assert found["true"]["mass_g"] == phantom[2].mass_g
    assert found["not_measured"] == ["mass_g"]  # the model knows the cavity alone
    assert found["seconds"] > 0
    assert (Path(found["folder"]) / "measurements.json").is_file()
    assert any((tmp_path / "demo" / "input" / "phantom").iterdir())
    again = lvseg_command("demo", "-o", tmp_path / "demo", "--model", tiny_model)
    assert again.status == 2
    assert again.err.count("\n") == 1


@pytest.mark.parametrize(
    ("measured", "told", "good", "line"),
    [
        ((140.0, 56.0, 60.0, 130.0), (), True, "good: every difference is within its limit"),
        ((140.0, 56.0, 60.0, None), ("no-myocardium",), True, "good: every difference"),
        ((140.0, 56.0, 60.0, None), (), False, "their consensus): mass"),
        ((154.8, 60.0, 59.0, 130.0), (), False, "their consensus): end-diastolic volume"),
        ((None, None, None, None), (), False, "ejection fraction, mass"),
    ],
)
def test_the_demo_says_in_one_line_whether_that_is_good(
    measured: tuple[float | None, ...], told: tuple[str, ...], *, good: bool, line: str
) -> None:
    keys = [key for key, _, _ in COMPARED]
    findings = [{"code": code} for code in told]
    values = dict(zip(keys, measured, strict=True)) | {"quality": {"findings": findings}}
    true = dict(zip(keys, (140.0, 56.0, 60.0, 138.7), strict=True))
    document = demo_document(Entry("phantom", measurements=values), true, 1.0, kept=False)
    assert document["good"] is good
    (judged,) = (each for each in demo_text(document).splitlines() if "good: " in each)
    assert line in judged
    mass = next(each for each in demo_text(document).splitlines() if each.startswith("mass"))
    assert ("not measured by this model" in mass) == ("no-myocardium" in told)


def test_a_prepared_data_set_passes_the_check(dataset: Path, lvseg_command: Command) -> None:
    ended = lvseg_command("check", dataset, "--json")
    assert ended.status == 0, ended.err
    assert ended.document["ok"] is True
    assert ended.document["images"] == 6
    assert "ok" in lvseg_command("check", dataset).out


def test_what_is_said_of_a_data_set_stands_in_its_folder(
    pictures: tuple[Path, Path], tmp_path: Path, lvseg_command: Command
) -> None:
    folder = tmp_path / "described"
    said = ("--name", "Discs", "--licence", "CC0-1.0", "--centre", "nowhere")
    limits = ("--limit", "No hearts.", "--limit", "No noise.")
    ended = lvseg_command("prepare", "images", *pictures, "-o", folder, *said, *limits)
    assert ended.status == 0, ended.err
    assert json.loads((folder / "dataset.json").read_text("utf-8")) == {
        "name": "Discs",
        "licence": "CC0-1.0",
        "citation": "unknown",
        "centre": "nowhere",
        "limits": ["No hearts.", "No noise."],
        "outline_rule": "unknown",
    }
    (found,) = lvseg_command("check", folder, "--json").document["findings"]
    assert (found["code"], found["severity"]) == ("unknown-facts", "info")
    assert "citation, outline_rule" in found["text"]


def test_a_broken_data_set_fails_the_check_with_3(dataset: Path, lvseg_command: Command) -> None:
    (dataset / "masks" / "p1_1.png").unlink()
    ended = lvseg_command("check", dataset, "--json")
    assert ended.status == 3
    assert ended.document["ok"] is False
    assert ended.err.startswith(f"lvseg: {dataset}: 1 kind(s) of error found")
    assert ended.err.count("\n") == 1


def test_a_manifest_with_a_patient_in_two_splits_is_refused(
    dataset: Path, tiny_model: Path, lvseg_command: Command
) -> None:
    manifest = dataset / "manifest.csv"
    lines = manifest.read_text().splitlines()
    other = "test" if ",training" in lines[1] else "training"
    lines[1] = lines[1].replace(",training", f",{other}").replace(",test", f",{other}")
    manifest.write_text("\n".join(lines) + "\n")
    ended = lvseg_command(
        "evaluate", "--data", dataset, "--split", "test", "--model", tiny_model, "--json"
    )
    assert ended.status == 3
    assert "p1" in ended.err


@pytest.mark.parametrize("word", ["--flips", "--no-flips"])
def test_evaluate_says_whether_it_averaged_mirror_images(
    word: str, dataset: Path, tiny_model: Path, lvseg_command: Command
) -> None:
    ended = lvseg_command(
        "evaluate", "--data", dataset, "--split", "test", "--model", tiny_model, "--json", word
    )
    assert ended.status == 0
    assert ended.document["flips"] is (word == "--flips")


@pytest.mark.parametrize(("word", "averaged"), [(None, True), ("--no-flips", False)])
def test_flips_on_the_command_line_go_before_the_settings(
    word: str | None,
    averaged: bool,
    dataset: Path,
    tiny_model: Path,
    tmp_path: Path,
    lvseg_command: Command,
) -> None:
    (tmp_path / "s.toml").write_text("flips = true\n")
    command = ("evaluate", "--data", dataset, "--split", "test", "--model", tiny_model)
    more = () if word is None else (word,)
    ended = lvseg_command(*command, "--settings", tmp_path / "s.toml", "--json", *more)
    assert ended.status == 0, ended.err
    assert ended.document["flips"] is averaged


def test_evaluate_prints_the_table_and_writes_the_file(
    dataset: Path, tiny_model: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    command = ("evaluate", "--data", dataset, "--split", "all", "--model", tiny_model)
    ended = lvseg_command(*command, "--json", "-o", tmp_path / "scores.json")
    assert ended.status == 0, ended.err
    found = ended.document
    assert found["n_images"] == 6
    # Bright discs on dark ground are what a threshold finds.
    assert found["dice"]["mean"] > 0.9
    assert json.loads((tmp_path / "scores.json").read_text()) == found
    table = lvseg_command(*command)
    assert table.out.startswith("6 images of 3 patients\n")


def test_evaluate_takes_masks_of_another_tool_by_what_is_said_of_their_values(
    dataset: Path, tiny_model: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    command = ("evaluate", "--split", "all", "--model", tiny_model, "--json", "--data")
    usual = lvseg_command(*command, dataset).document
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    for path in (other / "masks").iterdir():
        mask = np.asarray(Image.open(path)) // 255 * 3
        mask[:2, :2] = 1  # a right ventricle
        Image.fromarray(mask.astype(np.uint8)).save(path)
    asked = lvseg_command(*command, other)
    assert asked.status == 3
    assert "found 0, 1, 3 in" in asked.err
    assert "--label cavity=VALUE" in asked.err
    found = lvseg_command(*command, other, "--label", "cavity=3")
    assert found.status == 0, found.err
    assert found.document["dice"] == usual["dice"]


def test_evaluate_names_patients_that_taught_the_model(
    dataset: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    from tiny_model import write_tiny_model

    model = write_tiny_model(tmp_path / "taught", patients=("p2",))
    ended = lvseg_command(
        "evaluate", "--data", dataset, "--split", "all", "--model", model, "--json", "--quiet"
    )
    assert ended.status == 0
    assert ended.document["leaked_patients"] == ["p2"]
    assert "p2" in ended.err
    assert ended.err.count("\n") == 1


def test_training_without_its_libraries_says_what_to_install(
    dataset: Path, tmp_path: Path, lvseg_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [*sys.modules]:
        if name.partition(".")[0] == "torch" or name.startswith("lvseg.train"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    ended = lvseg_command(
        "train", "--preset", "lv-sax-dev", "--data", dataset, "-o", tmp_path / "run", "--json"
    )
    assert ended.status == 2
    assert "pip install 'lvseg[train]'" in ended.document["error"]


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        ("onnx", "training needs the optional part 'train'"),
        ("filelock", "training needs the optional part 'train'"),
        ("optuna.trial", "the search needs the optional part 'train'"),
        ("nncf", "a model in int8 needs the optional part 'int8'"),
    ],
)
def test_a_missing_library_names_its_optional_part(library: str, sentence: str) -> None:
    with pytest.raises(MissingExtraError, match=sentence), optional_libraries():
        raise ModuleNotFoundError(name=library)


def test_a_missing_module_of_no_optional_part_is_a_defect() -> None:
    with pytest.raises(ModuleNotFoundError, match="lost") as caught, optional_libraries():
        raise ModuleNotFoundError("lost", name="lost")
    assert not isinstance(caught.value, MissingExtraError)


def test_prepare_takes_masks_of_another_tool_by_what_is_said_of_their_values(
    pictures: tuple[Path, Path], tmp_path: Path, lvseg_command: Command
) -> None:
    for path in pictures[1].iterdir():
        mask = np.asarray(Image.open(path)) // 255 * 3
        Image.fromarray(mask.astype(np.uint8)).save(path)
    call = ("prepare", "images", *pictures, "-o", tmp_path / "set", "--splits", "training=1")
    ended = lvseg_command(*call)
    assert ended.status == 3
    assert "--label cavity=VALUE" in ended.err
    assert lvseg_command(*call, "--label", "cavity=3").status == 0
    for path in pictures[1].iterdir():
        kept = np.asarray(Image.open(tmp_path / "set" / "masks" / path.name))
        assert np.array_equal(kept // 255 * 3, np.asarray(Image.open(path)))


@pytest.mark.torch
def test_train_takes_labels_into_its_recipe(
    dataset: Path, tmp_path: Path, lvseg_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = pytest.importorskip("lvseg.train.trainer")
    seen = []
    monkeypatch.setattr(trainer, "fit", lambda options, *_, **how: seen.append(options))
    labels = ("--label", "cavity=3", "--label", "myocardium=2")
    ended = lvseg_command(
        "train", "--preset", "lv-sax-dev", "--data", dataset, "-o", tmp_path / "run", *labels
    )
    assert ended.status == 0, ended.err
    assert seen[0].label_values == {"LV_CAVITY": (3,), "LV_MYOCARDIUM": (2,)}


@pytest.mark.torch
@pytest.mark.parametrize("options", [[], ["--preset", "a", "--config", "b"]], ids=["none", "both"])
def test_training_takes_one_recipe(
    options: list[str], dataset: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    pytest.importorskip("torch")
    ended = lvseg_command("train", *options, "--data", dataset, "-o", tmp_path / "run")
    assert ended.status == 2
    assert "--preset" in ended.err
    assert ended.err.count("\n") == 1


def test_models_lists_and_verifies(
    tiny_model: Path, tmp_path: Path, lvseg_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "tiny")
    monkeypatch.setattr(
        model_store, "shipped", lambda: (model_store.ShippedModel("tiny", folder, default=True),)
    )
    good = lvseg_command("models", "--json")
    assert good.status == 0
    assert good.document["models"][0]["verified"] is True
    assert good.document["models"][0]["default"] is True
    assert good.document["models"][0]["labels"] == ["cavity"]
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert "tiny (default)" in lvseg_command("models").out
    bad = lvseg_command("models")
    assert bad.status == 5
    assert "NO" in bad.out


def test_every_shipped_model_says_what_it_is_for(lvseg_command: Command) -> None:
    found = lvseg_command("models", "--json").document["models"]
    assert [each["name"] for each in found if not each["purpose"]] == []


def test_doctor_tells_versions_engines_and_data(
    tmp_path: Path, lvseg_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sunnybrook").mkdir()
    monkeypatch.setenv("LVSEG_DATA", str(tmp_path))
    found = lvseg_command("doctor", "--json").document
    assert found["lvseg"]
    assert found["cores"] >= 1
    assert "onnxruntime" in found["runtimes"]
    assert found["packages"]["numpy"] == np.__version__
    assert found["data"] == ["sunnybrook"]
    assert "onnxruntime" in lvseg_command("doctor").out
