"""Hyper-parameter search over a recipe, scored on patients that no trial trains on.

Each trial trains in full on the same training patients; its score is the mean over the validation
patients of their mean Dice. Trials below the median of the others are stopped early. The state of
the search is a SQLite file, so it goes on where it was stopped, with the same trials as a search
that never stopped: the sampler of a trial depends on the seed and the finished trials only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState
from PIL import Image
from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError
from torch import nn

from lvseg.atomic import atomic_write, write_text
from lvseg.errors import DatasetError, UsageError
from lvseg.manifest import (
    Sample,
    folds,
    manifest_text,
    patients,
    read_manifest,
    select,
    unaugmented,
    write_manifest,
)
from lvseg.train import checkpoint
from lvseg.train.network import build
from lvseg.train.options import TrainOptions, write_options
from lvseg.train.run_folder import exclusive_lock, same_settings
from lvseg.train.search.space import (
    Space,
    applied,
    check_space,
    default_space,
    recipe_draw,
    value_at,
    values,
)
from lvseg.train.trainer import fit
from lvseg.train.validation import ValidationSet, label_figures, load_validation, slice_overlaps

#: Names of splits that hold test patients; ``all`` would include them.
TEST_SPLITS = frozenset({"online", "test", "testing", "all"})
#: Where a recipe names no validation split, one of so many parts of its training patients is.
FOLDS = 5
TRAINING, VALIDATION = "training", "validation"
#: Trials that are drawn at random, and never pruned, before the search learns from them.
STARTUP = 5

#: Gets (what is going on, epochs done, epochs in all).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    :param best_value: mean over the validation patients of their mean Dice, of the best trial. It
        was chosen for being the largest, so it flatters.
    :param baseline_value: the same of the recipe as it is, None if the space does not hold it.
    :param patients: number of validation patients.
    :param trials: finished trials = completed + pruned + failed.
    """

    best_value: float
    best_trial: int
    parameters: Mapping[str, Any]
    baseline_value: float | None
    patients: int
    trials: int
    completed: int
    pruned: int
    failed: int
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class _Search:
    """What stays the same over the trials."""

    base: TrainOptions
    space: Space
    folder: Path
    seed: int
    trials: int
    patients: int
    report: Report
    note: Callable[[str], None]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, number: int) -> Path:
        return self.folder / "runs" / f"{number:04d}"


def tune(
    options: TrainOptions,
    dataset: Path,
    folder: Path,
    *,
    trials: int = 20,
    space: Space | None = None,
    minutes: float | None = None,
    seed: int = 0,
    report: Report = lambda stage, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Search until ``folder`` holds ``trials`` finished trials.

    The first is the recipe itself, or as near to it as the space allows.

    :param space: what to change; None = :func:`lvseg.train.search.space.default_space`.
    :param minutes: start no further trial after so long; at least one is made.
    :param note: gets a line after each trial.
    :returns: scores and files: ``study.db``, ``best.toml``, ``trials.csv``, ``trials.png``.
    :raises UsageError: a recipe that names test patients or whose patients overlap, a folder with
        a search of another kind or one that is going on, or no trial that finished.
    :raises DatasetError: no cavity in any validation image.
    """
    chosen = check_space(default_space(options) if space is None else space, options, "the space")
    samples = read_manifest(dataset)
    own = split_samples(samples, options, seed)
    validation = patients(sample for sample in own if sample.split == VALIDATION)
    search = _Search(options, chosen, folder, seed, trials, len(validation), report, note)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.monotonic()
    with exclusive_lock(folder, "search"):
        study = _open(search, samples)
        linked_dataset(dataset, own, search.data)
        fresh = 0
        while _finished(study) < trials:
            if fresh and minutes is not None and time.monotonic() - started >= 60 * minutes:
                break
            _trial(study, search)
            fresh += 1
            _write(study, search)
        return _outcome(study, search)


def _open(search: _Search, samples: Sequence[Sample]) -> Any:
    """The study of a folder, new or gone on with; a trial that was killed counts as interrupted.

    :raises UsageError: it belongs to another search, or its file is broken.
    """
    path = search.folder / "study.db"
    url = URL.create("sqlite", database=str(path)).render_as_string().replace("{", "{{")
    quarter = search.base.epochs // 4  # too early to tell
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url.replace("}", "}}")),
            pruner=optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=quarter + 1),
            study_name="lvseg",
            direction="maximize",
            load_if_exists=True,
        )
    except DatabaseError as error:
        raise UsageError(f"expected the file of a search in {path}: {error.orig}") from error
    settings = {
        "recipe": search.base.model_dump(mode="json"),
        "space": {key: distribution_to_json(each) for key, each in search.space.items()},
        "seed": search.seed,
        "manifest": hashlib.sha256(manifest_text(samples).encode()).hexdigest(),
    }
    earlier = study.user_attrs.get("search")
    study.set_user_attr("search", same_settings(search.folder, "search", settings, earlier))
    for each in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(each.number, state=TrialState.FAIL)
        shutil.rmtree(search.run(each.number), ignore_errors=True)
    return study


def _finished(study: Any) -> int:
    """Number of trials that count."""
    return sum(_state(each) != "interrupted" for each in _ended(study))


def _trial(study: Any, search: _Search) -> None:
    """Draw, train and score one trial.

    The recipe itself must run; a draw may not (memory, options that do not fit together). A trial
    that is cut off stays as it is, "running", until the search goes on.
    """
    done = _finished(study)
    seed = int(np.random.SeedSequence((search.seed, done)).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    if done == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(recipe_draw(search.space, search.base))
    trial = study.ask(dict(search.space))
    told = f"{done + 1}/{search.trials}: trial {trial.number}"
    try:
        score = _train(trial, applied(search.base, values(trial.params)), search, done)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        search.note(f"{told} given up")
    except Exception as error:
        if done == 0:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        trial.set_user_attr("error", reason)
        study.tell(trial, state=TrialState.FAIL)
        search.note(f"{told} failed, {reason}")
    else:
        study.tell(trial, score)
        search.note(f"{told}, Dice {score:.4f}")
    finally:
        _keep_best_run(study, search)


def _train(trial: Any, options: TrainOptions, search: _Search, done: int) -> float:
    """Train, score after each validation, give up where the trial falls behind."""
    run = search.run(trial.number)
    validation = load_validation(search.data, VALIDATION, options)
    if bool(validation.slices.empty.all()):
        raise DatasetError("expected a cavity in at least one held-out picture, found none")
    network, scores = build(options.network, *options.channels), list[float]()
    if torch.cuda.is_available():
        network = network.to("cuda")

    def report(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        stage = f"trial {done + 1}/{search.trials}, epoch {epoch}/{epochs}"
        search.report(stage, done * epochs + epoch, search.trials * epochs)
        if epoch % options.validate_every and epoch < epochs:
            return
        checkpoint.load_ema(run, "last", network)
        by_patient = patient_dice(network, validation, options)
        scores.append(float(np.mean([*by_patient.values()])))
        trial.report(scores[-1], epoch)
        if epoch < epochs and trial.should_prune():
            raise optuna.TrialPruned

    splits = {"train_split": TRAINING, "validation_split": None}
    fit(options.model_copy(update=splits), search.data, run, report=report)
    return scores[-1]


def _keep_best_run(study: Any, search: _Search) -> None:
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = search.run(study.best_trial.number) if completed else None
    for each in (search.folder / "runs").glob("*"):
        if each != best:
            shutil.rmtree(each, ignore_errors=True)


def _write(study: Any, search: _Search) -> TrainOptions | None:
    """Bring the table and the best configuration up to date.

    :returns: the configuration, with the splits of the recipe; None where no trial completed.
    """
    write_table(search.folder / "trials.csv", study, search.space)
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    best = study.best_trial
    options = applied(search.base, values(best.params))
    options = options.model_copy(update={"name": f"{search.base.name}-tuned"})
    remarks = [
        f"The recipe {search.base.name} after a search: trial {best.number}, Dice "
        f"{best.value:.4f} (mean over {search.patients} held-out patients of their mean).",
        "It was chosen for that figure: judge it on other patients.",
    ]
    write_options(search.folder / "best.toml", options, remarks)
    return options


def _outcome(study: Any, search: _Search) -> Outcome:
    """Write the files and sum up.

    :raises UsageError: no trial finished.
    """
    options = _write(study, search)
    counted = [each for each in _ended(study) if _state(each) != "interrupted"]
    if options is None:
        reasons = [each.user_attrs["error"] for each in counted if "error" in each.user_attrs]
        reason = reasons[-1] if reasons else "no trial was made"
        raise UsageError(f"expected at least one trial to finish, found none: {reason}")
    draw_figure(search.folder / "trials.png", study)
    best, first = study.best_trial, counted[0]
    as_it_was = first.params == recipe_draw(search.space, search.base)
    states = [_state(each) for each in counted]
    names = ("study.db", "best.toml", "trials.csv", "trials.png")
    return Outcome(
        best_value=best.value,
        best_trial=best.number,
        parameters={key: value_at(options, key) for key in search.space},
        baseline_value=_score(first) if as_it_was else None,
        patients=search.patients,
        trials=len(states),
        completed=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        files={name: search.folder / name for name in names} | {"run": search.run(best.number)},
    )


def split_samples(
    samples: Sequence[Sample], options: TrainOptions, seed: int
) -> tuple[Sample, ...]:
    """Samples of a recipe with the splits ``training`` and ``validation``, by patient.

    Without a validation split one of five parts of the training patients is. Augmented copies are
    never in it.

    :raises UsageError: a split of test patients, or a patient on both sides.
    """
    for key, value in options.model_dump().items():
        named = {part.strip().lower() for part in str(value).split("+")}
        if key.endswith("_split") and named & TEST_SPLITS:
            raise UsageError(
                f"expected a recipe that leaves test patients alone, found {key} = '{value}': a "
                "search may see training and validation patients only"
            )
    training = select(samples, options.train_split)
    if options.validation_split is None:
        validation = folds(training, min(FOLDS, len(patients(training))), seed=seed)[0]
        training = tuple(
            sample for sample in training if sample.patient_id not in set(patients(validation))
        )
    else:
        validation = select(samples, options.validation_split)
    both = set(patients(training)) & set(patients(validation))
    if both:
        raise UsageError(
            f"expected other patients in '{options.validation_split}' than in "
            f"'{options.train_split}', found {len(both)} in both: choose other splits"
        )
    return (
        *(replace(sample, split=TRAINING) for sample in training),
        *(replace(sample, split=VALIDATION) for sample in unaugmented(validation)),
    )


def linked_dataset(dataset: Path, samples: Sequence[Sample], folder: Path) -> None:
    """Make ``folder`` a data set of the same images with a manifest of its own.

    ``images``, ``masks`` and ``dataset.json``, if there is one, are links to those of ``dataset``.
    """
    folder.mkdir(exist_ok=True)
    for name in ("images", "masks", "dataset.json"):
        source, link = (dataset / name).resolve(), folder / name
        link.unlink(missing_ok=True)
        if source.exists():
            link.symlink_to(source, target_is_directory=source.is_dir())
    write_manifest(samples, folder)


def patient_dice(
    network: nn.Module, data: ValidationSet, options: TrainOptions
) -> dict[str, float]:
    """Mean Dice of each patient, over labels and the images that show them.

    Empty images do not count; a patient with no others is left out.
    """
    found: dict[str, list[float]] = {}
    rows = slice_overlaps(network, data, options)
    for sample, row in zip(data.slices.samples, rows, strict=True):
        if row.any():
            dice = label_figures(row, options.labels)["dice"]
            found.setdefault(sample.patient_id, []).append(dice)
    return {patient: sum(each) / len(each) for patient, each in found.items()}


def _ended(study: Any) -> list[Any]:
    """Trials of a study that do not run and do not wait, in order."""
    return [each for each in study.get_trials(deepcopy=False) if each.state.is_finished()]


def _state(trial: Any) -> str:
    """``complete``, ``pruned``, ``failed`` (it gave a reason) or ``interrupted`` (it gave none)."""
    if trial.state == TrialState.FAIL:
        return "failed" if "error" in trial.user_attrs else "interrupted"
    return str(trial.state.name).lower()


def _score(trial: Any) -> float | None:
    """Mean over the patients of their mean Dice; the last one seen where it did not complete."""
    steps = trial.intermediate_values
    last: float | None = steps[max(steps)] if trial.value is None and steps else trial.value
    return last


def write_table(path: Path, study: Any, keys: Collection[str]) -> Path:
    """One line a trial: number, state, score, cost and the value of every option searched."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "epochs", "seconds", *keys, "note"])
    for trial in _ended(study):
        dice = "" if _score(trial) is None else f"{_score(trial):.6f}"
        epochs = max(trial.intermediate_values, default=0)
        seconds = "" if trial.duration is None else f"{trial.duration.total_seconds():.1f}"
        drawn = [values(trial.params).get(key, "") for key in keys]
        note = trial.user_attrs.get("error", "")
        writer.writerow([trial.number, _state(trial), dice, epochs, seconds, *drawn, note])
    return write_text(path, text.getvalue())


def draw_figure(path: Path, study: Any) -> Path:
    """Draw score by trial, importance by option, and score by value of each option, as a PNG.

    Importance is PED-ANOVA (Watanabe 2023); left out where there are too few trials to tell. Pruned
    trials have no final score and are not drawn.
    """
    from optuna.visualization import matplotlib as plots

    wide, panels = (12.0, 4.8), (7.0, 4.8)  # the last is twice as wide as a panel
    name = {"target_name": "Dice, mean over patients"}
    rows = [
        _drawn(lambda: plots.plot_optimization_history(study, **name), wide),
        _drawn(lambda: plots.plot_param_importances(study, **name), wide),
        _drawn(lambda: plots.plot_slice(study, **name), panels),
    ]
    size = (max(row.width for row in rows), sum(row.height for row in rows))
    sheet, top = Image.new("RGB", size, "white"), 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with atomic_write(path) as temporary:
        sheet.save(temporary)
    return path


def _drawn(plot: Callable[[], Any], inches: tuple[float, float]) -> Image.Image:
    """One plot of Optuna as an image; empty where there are too few trials for it."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), plt.rc_context({"figure.figsize": inches}):
        warnings.simplefilter("ignore")  # "experimental", and axes of no length with one value
        try:
            plot()
        except (RuntimeError, ValueError):  # fewer than two trials, or nothing varied
            return Image.new("RGB", (0, 0))
        figure, png = plt.gcf(), io.BytesIO()
        figure.savefig(png, dpi=100, bbox_inches="tight", format="png")
        plt.close(figure)
    return Image.open(png)
