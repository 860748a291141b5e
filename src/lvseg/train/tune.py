"""Hyper-parameter search over a recipe, judged on patients it does not learn from.

Each trial trains in full on the same training patients; its score is the mean over the held-out
patients of their mean Dice. Trials below the median of the others are stopped early. The state of
the search is a SQLite file, so it goes on where it was stopped, with the same trials as a search
that never stopped: the sampler of a trial depends on the seed and the finished trials only.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError

from lvseg.errors import DatasetError, UsageError
from lvseg.manifest import Sample, manifest_text, patients, read_manifest
from lvseg.train import checkpoint
from lvseg.train.folder_lock import alone_in
from lvseg.train.held_out import HELD_OUT, TRAINING, divide, link, patient_dice
from lvseg.train.network import build
from lvseg.train.options import TrainOptions
from lvseg.train.space import Parameter, applied, check_space, default_space, value_at
from lvseg.train.trainer import fit, load_split
from lvseg.train.trials import Trial, draw_figure, importance, write_configuration, write_table

__all__ = ["Outcome", "tune"]

#: Trials that are drawn at random, and never pruned, before the search learns from them.
STARTUP = 5

#: Gets (what is going on, epochs done, epochs in all).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    :param best_value: mean over the held-out patients of their mean Dice, of the best trial. It
        was chosen for being the largest, so it flatters.
    :param baseline_value: the same of the recipe as it is, None if the space does not hold it.
    :param patients: number of held-out patients.
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
    space: tuple[Parameter, ...]
    folder: Path
    seed: int
    trials: int
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
    space: Sequence[Parameter] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    report: Report = lambda stage, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Search until ``folder`` holds ``trials`` finished trials.

    The first is the recipe itself, or as near to it as the space allows.

    :param space: what to change; None = :func:`lvseg.train.space.default_space`.
    :param minutes: start no further trial after so long; at least one is made.
    :param note: gets a line after each trial.
    :returns: scores and files: ``study.db``, ``best.toml``, ``trials.csv``, ``trials.png``.
    :raises UsageError: a recipe that names test patients or whose patients overlap, a folder with
        a search of another kind or one that is going on, or no trial that finished.
    :raises DatasetError: no cavity in any held-out picture.
    """
    chosen = default_space(options) if space is None else tuple(space)
    search = _Search(
        options, check_space(chosen, options, "the space"), folder, seed, trials, report, note
    )
    samples = read_manifest(dataset)
    divided = divide(samples, options, seed)
    held_out = patients(sample for sample in divided if sample.split == HELD_OUT)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.monotonic()
    with alone_in(folder, "search"):
        study = _open(search, samples)
        _forget_interrupted(study, search)
        link(dataset, divided, search.data)
        fresh = 0
        while len(_finished(study)) < trials:
            if fresh and minutes is not None and time.monotonic() - started >= 60 * minutes:
                break
            _trial(study, search)
            fresh += 1
            _write(study, search, len(held_out))
        return _outcome(study, search, len(held_out))


def _open(search: _Search, samples: Sequence[Sample]) -> Any:
    """The study of a folder, new or gone on with.

    :raises UsageError: it belongs to another search, or its file is broken.
    """
    path = search.folder / "study.db"
    url = URL.create("sqlite", database=str(path)).render_as_string().replace("{", "{{")
    quarter = search.base.epochs // 4  # too early to tell
    pruner = optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=quarter + 1)
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url.replace("}", "}}")),
            pruner=pruner,
            study_name="lvseg",
            direction="maximize",
            load_if_exists=True,
        )
    except DatabaseError as error:
        raise UsageError(f"expected the file of a search in {path}: {error.orig}") from error
    own = {
        "recipe": search.base.model_dump(mode="json"),
        "space": [asdict(each) for each in search.space],
        "seed": search.seed,
        "manifest": hashlib.sha256(manifest_text(samples).encode()).hexdigest(),
    }
    own = json.loads(json.dumps(own))
    earlier = study.user_attrs.get("search")
    if earlier is None:
        study.set_user_attr("search", own)
    elif earlier != own:
        other = ", ".join(key for key in own if own[key] != earlier.get(key))
        raise UsageError(
            f"expected the search that {search.folder} was begun with, found another {other}: "
            "name a new folder"
        )
    return study


def _forget_interrupted(study: Any, search: _Search) -> None:
    """Mark trials that were cut off as failed, without a reason, and remove what they wrote."""
    for each in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(each.number, state=TrialState.FAIL)
        shutil.rmtree(search.run(each.number), ignore_errors=True)


def _finished(study: Any) -> list[Any]:
    """Trials that count: a failed one has a reason, an interrupted one has none."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=ended)
    return [t for t in trials if t.state != TrialState.FAIL or "error" in t.user_attrs]


def _trial(study: Any, search: _Search) -> None:
    """Draw, train and score one trial."""
    done = len(_finished(study))
    seed = int(np.random.SeedSequence((search.seed, done)).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    if done == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(_baseline(search))
    trial = study.ask()
    values = {each.key: each.value(_suggest(trial, each)) for each in search.space}
    run, told = search.run(trial.number), f"{done + 1}/{search.trials}: trial {trial.number}"
    try:
        score = _train(trial, applied(search.base, values), search, done)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        search.note(f"{told} given up")
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if done > 0:  # the recipe itself must run; a draw may not (memory, a combination)
            trial.set_user_attr("error", reason)
        study.tell(trial, state=TrialState.FAIL)
        if done == 0:
            raise
        search.note(f"{told} failed, {reason}")
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, score)
        search.note(f"{told}, Dice {score:.4f}")
    finally:
        _keep_best_run(study, search, run)


def _keep_best_run(study: Any, search: _Search, run: Path) -> None:
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = search.run(study.best_trial.number) if completed else None
    for each in [run, *(search.folder / "runs").glob("*")]:
        if each != best:
            shutil.rmtree(each, ignore_errors=True)


def _baseline(search: _Search) -> dict[str, Any]:
    """What the recipe itself would draw; options outside the space are left to the sampler."""
    drawn = {}
    for each in search.space:
        value = value_at(search.base, each.key)
        if each.contains(value):
            drawn[each.key] = each.labels[each.choices.index(value)] if each.choices else value
    return drawn


def _suggest(trial: Any, parameter: Parameter) -> Any:
    if parameter.choices:
        return trial.suggest_categorical(parameter.key, parameter.labels)
    low, high = parameter.low, parameter.high
    if parameter.whole:
        return trial.suggest_int(parameter.key, int(low), int(high), log=parameter.log)
    return trial.suggest_float(parameter.key, low, high, log=parameter.log)


def _train(trial: Any, options: TrainOptions, search: _Search, done: int) -> float:
    """Train, score after each validation, give up where the trial falls behind."""
    run = search.run(trial.number)
    held_out = load_split(search.data, HELD_OUT, options)
    if bool(held_out.empty.all()):
        raise DatasetError("expected a cavity in at least one held-out picture, found none")
    network, scores = build(options.network), list[float]()
    if torch.cuda.is_available():
        network = network.to("cuda")

    def report(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        stage = f"trial {done + 1}/{search.trials}, epoch {epoch}/{epochs}"
        search.report(stage, done * epochs + epoch, search.trials * epochs)
        if epoch % options.validate_every and epoch < epochs:
            return
        checkpoint.load_average(run, "last", network)
        by_patient = patient_dice(network, held_out, options)
        scores.append(float(np.mean([*by_patient.values()])))
        trial.report(scores[-1], epoch)
        if epoch < epochs and trial.should_prune():
            raise optuna.TrialPruned

    splits = {"train_split": TRAINING, "validation_split": None}
    fit(options.model_copy(update=splits), search.data, run, report=report)
    return scores[-1]


def _listed(study: Any, space: Sequence[Parameter]) -> list[Trial]:
    """The trials of a study as plain records."""
    listed = []
    for each in study.get_trials(deepcopy=False):
        if not each.state.is_finished():
            continue
        error = str(each.user_attrs.get("error", ""))
        state = each.state.name.lower()
        if each.state == TrialState.FAIL:
            state = "failed" if error else "interrupted"
        steps = each.intermediate_values
        seconds = None if each.duration is None else each.duration.total_seconds()
        values = {p.key: p.value(each.params[p.key]) for p in space if p.key in each.params}
        score = each.value if each.value is not None else (steps[max(steps)] if steps else None)
        epochs = max(steps, default=0)
        listed.append(Trial(each.number, state, score, epochs, seconds, values, error))
    return listed


def _best(study: Any, search: _Search) -> tuple[Any, TrainOptions]:
    """The best trial and its configuration with the splits of the recipe."""
    best = study.best_trial
    values = {each.key: each.value(best.params[each.key]) for each in search.space}
    options = applied(search.base, values)
    return best, options.model_copy(update={"name": f"{search.base.name}-tuned"})


def _write(study: Any, search: _Search, count: int) -> None:
    """Bring the table and the best configuration up to date."""
    trials, keys = _listed(study, search.space), [each.key for each in search.space]
    write_table(search.folder / "trials.csv", trials, keys)
    if any(each.state == "complete" for each in trials):
        best, options = _best(study, search)
        remarks = [
            f"The recipe {search.base.name} after a search: trial {best.number}, Dice "
            f"{best.value:.4f} (mean over {count} held-out patients of their mean).",
            "It was chosen for that figure: judge it on other patients.",
        ]
        write_configuration(search.folder / "best.toml", options, remarks)


def _outcome(study: Any, search: _Search, count: int) -> Outcome:
    """Write the files and sum up.

    :raises UsageError: no trial finished.
    """
    trials, keys = _listed(study, search.space), [each.key for each in search.space]
    states = [each.state for each in trials]
    if "complete" not in states:
        reason = next((each.note for each in reversed(trials) if each.note), "no trial was made")
        raise UsageError(f"expected at least one trial to finish, found none: {reason}")
    _write(study, search, count)
    files = {name: search.folder / name for name in ("study.db", "best.toml", "trials.csv")}
    files["trials.png"] = draw_figure(search.folder / "trials.png", trials, keys, importance(study))
    best, options = _best(study, search)
    first = next(each for each in trials if each.state != "interrupted")
    as_it_was = all(value_at(search.base, key) == value for key, value in first.values.items())
    return Outcome(
        best_value=best.value,
        best_trial=best.number,
        parameters={key: value_at(options, key) for key in keys},
        baseline_value=first.score if as_it_was else None,
        patients=count,
        trials=len(states) - states.count("interrupted"),
        completed=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        files={**files, "run": search.run(best.number)},
    )
