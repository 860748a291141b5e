"""Options that several commands share, and what they stand for: models, settings, a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.errors import LvsegError, MissingExtraError, UsageError
from lvseg.formats import FORMATS

if TYPE_CHECKING:
    from lvseg.labels import Label
    from lvseg.predict import Predictor
    from lvseg.settings import Settings
    from lvseg.train.options import TrainOptions


class Runtime(StrEnum):
    """Inference engines."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class SegPhases(StrEnum):
    """Which phases a DICOM SEG holds."""

    all = "all"
    ed_es = "ed-es"


Formats = Annotated[
    str | None,
    typer.Option(
        metavar="LIST", help=f"From {', '.join(each.name for each in FORMATS)}; default: what fits."
    ),
]
SegPhasesOption = Annotated[
    SegPhases, typer.Option(help="DICOM SEG of the whole cine, or one each of ED and ES.")
]
Model = Annotated[str | None, typer.Option(help="Name of a shipped model, or a model folder.")]
RuntimeOption = Annotated[Runtime, typer.Option(help="Inference engine.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads.")]
#: None = not given: the settings decide.
Flips = Annotated[
    bool | None,
    typer.Option(
        "--flips/--no-flips",
        help="Average four mirror images, for a model taught in every orientation.  "
        "[default: no-flips]",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings", metavar="FILE", help="Settings of clean-up, measurement and checks, TOML."
    ),
]
MASK_HELP = "NIfTI, DICOM SEG, .seg.nrrd, contours.json, contour files or picture."
LabelValues = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=VALUE",
        help="What a value in masks of other tools means, as in cavity=3; all others are "
        "background. May be given again.",
    ),
]


class Sex(StrEnum):
    """Sexes that reference ranges know."""

    F = "F"
    M = "M"


class Bsa(StrEnum):
    """Formulas of the body surface area."""

    mosteller = "mosteller"
    du_bois = "du-bois"


ReferenceRanges = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Show normal ranges of a table, by name or JSON file (docs/reference.md).",
    ),
]
BsaOption = Annotated[
    Bsa | None,
    typer.Option("--bsa", help="Formula of the body surface area.  [default: mosteller]"),
]
#: For a study alone, which makes no table.
BodySheet = Annotated[
    Path | None,
    typer.Option(
        "--covariates",
        metavar="SHEET",
        help="CSV with a column study and any of sex, age_years, height_cm, weight_kg, for what "
        "headers do not state.",
    ),
]
CovariatesSheet = Annotated[
    Path | None,
    typer.Option(
        metavar="SHEET",
        help="CSV with a column study and others (sex, age, size, group), joined to the table; "
        "body size of docs/reference.md also for what headers do not state.",
    ),
]
SexOption = Annotated[Sex | None, typer.Option(help="Where the header does not state it.")]
Age = Annotated[float | None, typer.Option("--age", metavar="YEARS", help="Likewise.")]
Height = Annotated[float | None, typer.Option(metavar="CM", help="Likewise.")]
Weight = Annotated[float | None, typer.Option(metavar="KG", help="Likewise.")]
DatasetFolder = Annotated[Path, typer.Argument(metavar="DATASET", help="Data set folder.")]
NewDataset = Annotated[Path, typer.Option("--output", "-o", help="Data set folder to make.")]
ReplaceDataset = Annotated[bool, typer.Option("--overwrite", help="Replace a data set.")]
DatasetOption = Annotated[Path, typer.Option(help="Data set folder (see lvseg prepare).")]
DeviceOption = Annotated[Device, typer.Option(help="auto = a CUDA GPU if there is one.")]
Preset = Annotated[str | None, typer.Option(help="A recipe that comes with lvseg.")]
Config = Annotated[Path | None, typer.Option(help="A recipe of your own, TOML.")]

#: The largest value that a label of another tool can have.
LARGEST_LABEL_VALUE = 65535
_TRAINING = ("training", "train")
_SEARCH = ("the search", "train")
#: Top-level module of an optional library -> what needs it, and the extra that installs it.
OPTIONAL = MappingProxyType(
    {
        "torch": _TRAINING,
        "monai": _TRAINING,
        "tensorboard": _TRAINING,
        "safetensors": _TRAINING,
        "onnx": _TRAINING,
        "onnxscript": _TRAINING,
        "filelock": _TRAINING,
        "optuna": _SEARCH,
        "sqlalchemy": _SEARCH,
        "alembic": _SEARCH,
        "nncf": ("a model in int8", "int8"),
        "ray": ("--engine ray", "ray"),
    }
)


@contextmanager
def optional_libraries() -> Iterator[None]:
    """Turn a missing library of an extra into the sentence that says what to install.

    :raises MissingExtraError: a library of :data:`OPTIONAL` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        needed = OPTIONAL.get((error.name or "").partition(".")[0])
        if needed is None:
            raise
        raise MissingExtraError(*needed) from error


def locate_model(model: str | None) -> Path:
    """The folder of a model by shipped name or path, verified; None = the default one.

    :raises ModelError: missing, altered or broken.
    """
    from lvseg import model_store

    folder = model_store.locate(model_store.DEFAULT if model is None else model)
    model_store.verify(folder)
    return folder


def load_predictor(model: str | None, runtime: Runtime, threads: int | None) -> Predictor:
    """Load the model by shipped name or folder; None = the default one.

    :raises ModelError: missing, altered or broken.
    """
    from lvseg import model_store
    from lvseg.predict import load_model

    folder = model_store.locate(model_store.DEFAULT if model is None else model)
    return load_model(folder, runtime=runtime.value, threads=threads)


def found_models() -> list[dict[str, Any]]:
    """Every shipped model with what its card says, and whether its weights are the card's."""
    from lvseg import model_store

    rows = []
    for each in model_store.shipped():
        row: dict[str, Any] = {"name": each.name, "default": each.default}
        row |= {"folder": each.folder, "verified": True}
        try:
            card = model_store.verify(each.folder)
            row |= {"version": card.version, "parameters": card.parameters, "sha256": card.sha256}
            row |= {"licence": card.licence, "scores": card.scores, "error": None}
            row |= {"labels": [label.word for label in card.labels]}
        except LvsegError as error:
            row |= {"verified": False, "error": str(error)}
        rows.append(row)
    return rows


def load_settings(path: Path | None, *, flips: bool | None = None) -> Settings:
    """Read the settings of ``--settings``, or take the defaults; ``--flips`` goes before them.

    :raises UsageError: no such file, broken TOML, an unknown key or a wrong type.
    """
    from lvseg.settings import Settings

    settings = Settings() if path is None else Settings.from_toml(path)
    return settings if flips is None else replace(settings, flips=flips)


def body_options(
    ranges: str | None,
    bsa: Bsa | None,
    covariates: Path | None,
    sex: Sex | None,
    age_years: float | None,
    height_cm: float | None,
    weight_kg: float | None,
) -> dict[str, object]:
    """What was given about the person, by the names of :class:`lvseg.body.BodySettings`."""
    given = {
        "reference_ranges": ranges,
        "bsa_formula": None if bsa is None else bsa.value,
        "covariates": None if covariates is None else str(covariates),
        "sex": None if sex is None else sex.value,
        "age_years": age_years,
        "height_cm": height_cm,
        "weight_kg": weight_kg,
    }
    return {name: value for name, value in given.items() if value is not None}


def with_body(settings: Settings, given: Mapping[str, object]) -> Settings:
    """The settings with what was given about the person; it goes before the file.

    :raises UsageError: what nobody can have, a sheet or a table that cannot be read.
    """
    from lvseg.body import check_body
    from lvseg.reference_ranges import load_table

    body = replace(settings.body, **given)  # type: ignore[arg-type]
    check_body(body)
    if body.reference_ranges is not None:
        load_table(body.reference_ranges)
    return replace(settings, body=body)


def pair_files(given: Sequence[str] | None) -> tuple[Path, Path] | None:
    """Read what ``--pair`` says: the files of end-diastole and end-systole; None = not given.

    :raises UsageError: not NAME=FILE, or not each of ED and ES once.
    """
    from lvseg.names import PHASES

    if not given:
        return None
    named = [text.partition("=") for text in given]
    files = {name.upper(): Path(file) for name, _, file in named if file}
    if len(given) != len(PHASES) or set(files) != set(PHASES):
        raise UsageError(
            f"expected --pair ED=FILE and --pair ES=FILE, once each, found {', '.join(given)}"
        )
    return files["ED"], files["ES"]


def label_values(given: Sequence[str] | None) -> Mapping[int, Label] | None:
    """Read what ``--label`` says: value of the other tool -> our label; None = not given.

    :raises UsageError: not NAME=VALUE, an unknown name, a value out of range or given two names.
    """
    from lvseg.labels import Label

    if not given:
        return None
    names = {label.word: label for label in Label if label}
    table: dict[int, Label] = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in names:
            raise UsageError(
                f"expected --label NAME=VALUE with a NAME of {', '.join(names)}, found '{text}'"
            )
        value = int(number) if number.isascii() and number.isdigit() else 0
        if not 1 <= value <= LARGEST_LABEL_VALUE:
            raise UsageError(
                f"expected --label {name}=VALUE with a whole number from 1 to "
                f"{LARGEST_LABEL_VALUE}, found '{text}'"
            )
        if table.setdefault(value, names[name]) is not names[name]:
            raise UsageError(f"expected one label for the value {value}, found two with --label")
    return table


def recipe(preset: str | None, config: Path | None) -> TrainOptions:
    """Read the training options of exactly one of ``--preset`` and ``--config``.

    :raises UsageError: none or both, or what they name is not there.
    """
    from lvseg.train.options import load_options, preset_names, read_preset

    if preset is not None and config is None:
        return read_preset(preset)
    if config is not None and preset is None:
        return load_options(config)
    known = ", ".join(preset_names())
    raise UsageError(f"expected either --preset (one of {known}) or --config FILE")
