"""What a search leaves: a table of its trials, the best configuration, a figure."""

from __future__ import annotations

import csv
import io
import json
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvseg.atomic import atomic_write, write_text
from lvseg.train.options import TrainOptions

__all__ = ["Trial", "draw_figure", "importance", "to_toml", "write_configuration", "write_table"]

#: Slice plots drawn at most: the most important options first.
PANELS = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a search.

    :param state: ``complete``, ``pruned``, ``failed`` or ``interrupted``.
    :param score: mean over patients of their mean Dice; the last one seen where it was pruned.
    :param values: dotted key -> value of the option.
    """

    number: int
    state: str
    score: float | None
    epochs: int
    seconds: float | None
    values: Mapping[str, Any]
    note: str = ""


def write_table(path: Path, trials: Sequence[Trial], keys: Sequence[str]) -> Path:
    """One line a trial: number, state, score, cost and the value of every option searched."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "epochs", "seconds", *keys, "note"])
    for each in trials:
        score = "" if each.score is None else f"{each.score:.6f}"
        seconds = "" if each.seconds is None else f"{each.seconds:.1f}"
        values = [each.values.get(key, "") for key in keys]
        writer.writerow([each.number, each.state, score, each.epochs, seconds, *values, each.note])
    return write_text(path, text.getvalue())


def write_configuration(path: Path, options: TrainOptions, remarks: Sequence[str]) -> Path:
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
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def importance(study: Any) -> dict[str, float]:
    """Share of each option in what separates good trials from bad ones, largest first.

    PED-ANOVA (Watanabe 2023). Empty where there are too few trials to tell.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study)
        except (RuntimeError, ValueError):  # fewer than two trials, or nothing varied
            return {}
    return {str(key): float(share) for key, share in found.items()}


def draw_figure(
    path: Path, trials: Sequence[Trial], keys: Sequence[str], shares: Mapping[str, float]
) -> Path:
    """Score by trial, importance by option, and score by value of each option, as a picture.

    :param shares: see :func:`importance`; may be empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted(keys, key=lambda key: -shares.get(key, 0.0))[:PANELS]
    rows = 1 + -(-len(shown) // 4)
    figure = Figure(figsize=(14, 3.6 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 4)
    _history(figure.add_subplot(grid[0, :2]), trials)
    _bars(figure.add_subplot(grid[0, 2:]), shares)
    for index, key in enumerate(shown):
        _slice(figure.add_subplot(grid[1 + index // 4, index % 4]), trials, key)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    return path


def _history(axes: Any, trials: Sequence[Trial]) -> None:
    for state, mark, colour in (("complete", "o", "#1f6f8b"), ("pruned", "x", "#9a9a9a")):
        of_state = [each for each in trials if each.state == state and each.score is not None]
        numbers, scores = [t.number for t in of_state], [t.score for t in of_state]
        axes.scatter(numbers, scores, marker=mark, color=colour, label=state)
    done = [each for each in trials if each.state == "complete" and each.score is not None]
    best = [max(t.score or 0.0 for t in done[: n + 1]) for n in range(len(done))]
    axes.step([t.number for t in done], best, where="post", color="#c8553d", label="best so far")
    axes.set(xlabel="trial", ylabel="Dice, mean over patients")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def _bars(axes: Any, shares: Mapping[str, float]) -> None:
    axes.set(title="Importance", xlabel="share")
    if not shares:
        axes.text(0.5, 0.5, "too few trials to tell", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color="#1f6f8b")


def _slice(axes: Any, trials: Sequence[Trial], key: str) -> None:
    for state, mark, colour in (("pruned", "x", "#9a9a9a"), ("complete", "o", "#1f6f8b")):
        found = [t for t in trials if t.state == state and t.score is not None and key in t.values]
        values = [t.values[key] for t in found]
        if any(isinstance(value, str | bool | list) for value in values):
            values = [str(value) for value in values]
        axes.scatter(values, [t.score for t in found], marker=mark, color=colour)
    numbers = [t.values[key] for t in trials if isinstance(t.values.get(key), float)]
    if numbers and min(numbers) > 0 and max(numbers) > 30 * min(numbers):
        axes.set_xscale("log")
    axes.set(xlabel=key, ylabel="Dice")
