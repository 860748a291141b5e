"""Files of a search: the table of its trials, the best configuration and the figures of Optuna."""

from __future__ import annotations

import csv
import io
import json
import tomllib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from PIL import Image

from lvseg.atomic import atomic_write, write_text
from lvseg.train.options import TrainOptions
from lvseg.train.search.space import values


def ended(study: Any) -> list[Any]:
    """Trials of a study that do not run and do not wait, in order."""
    return [each for each in study.get_trials(deepcopy=False) if each.state.is_finished()]


def state(trial: Any) -> str:
    """``complete``, ``pruned``, ``failed`` (it gave a reason) or ``interrupted`` (it gave none)."""
    if trial.state == TrialState.FAIL:
        return "failed" if "error" in trial.user_attrs else "interrupted"
    return str(trial.state.name).lower()


def score(trial: Any) -> float | None:
    """Mean over the patients of their mean Dice; the last one seen where it did not complete."""
    steps = trial.intermediate_values
    last: float | None = steps[max(steps)] if trial.value is None and steps else trial.value
    return last


def write_table(path: Path, study: Any, keys: Collection[str]) -> Path:
    """One line a trial: number, state, score, cost and the value of every option searched."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "epochs", "seconds", *keys, "note"])
    for trial in ended(study):
        dice = "" if score(trial) is None else f"{score(trial):.6f}"
        epochs = max(trial.intermediate_values, default=0)
        seconds = "" if trial.duration is None else f"{trial.duration.total_seconds():.1f}"
        drawn = [values(trial.params).get(key, "") for key in keys]
        note = trial.user_attrs.get("error", "")
        writer.writerow([trial.number, state(trial), dice, epochs, seconds, *drawn, note])
    return write_text(path, text.getvalue())


def write_options(path: Path, options: TrainOptions, remarks: Sequence[str]) -> Path:
    """All options as TOML that ``lvseg train --config`` takes, with remarks on top.

    :raises ValueError: TOML cannot say these options (it knows no null).
    """
    text = to_toml(options.model_dump(mode="json", exclude_none=True))
    if TrainOptions.model_validate(tomllib.loads(text)) != options:
        raise ValueError("TOML does not give the same training options back")
    return write_text(path, "".join(f"# {line}\n" for line in remarks) + text)


def to_toml(table: Mapping[str, Any], name: str = "") -> str:
    """Write a table of plain values, lists and tables (TOML 1.0).

    >>> print(to_toml({"a": 1, "b": {"c": [0.5, True]}}), end="")
    a = 1
    <BLANKLINE>
    [b]
    c = [0.5, true]
    """
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if key not in inner]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in inner.items():
        full = f"{name}.{key}" if name else key
        text += f"\n[{full}]\n{to_toml(value, full)}"
    return text


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


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
