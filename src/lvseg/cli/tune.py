"""`lvseg tune`: search for better training options, on patients that no trial learns from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import Config, DatasetOption, Preset, optional_libraries, recipe
from lvseg.cli.output import Output, table

if TYPE_CHECKING:
    from lvseg.train.search.tune import Outcome


@command("tune", example="lvseg tune --preset lv-sax-dev --data dataset -o search --trials 30")
def tune(
    out: Output,
    data: DatasetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")],
    preset: Preset = None,
    config: Config = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, earlier ones included.")] = 20,
    space: Annotated[Path | None, typer.Option(help="What to change, TOML.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no further trial after so long.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
) -> int:
    """Search for better training options.

    The first trial is the recipe as it is. Each trial is scored on validation patients: the mean
    of their mean Dice. The same command goes on with a stopped search; --trials may grow. Writes
    best.toml for lvseg train --config. Needs the optional part 'train'.
    """
    with optional_libraries():
        from lvseg.train.search.space import load_space
        from lvseg.train.search.tune import tune as search

        base = recipe(preset, config)
    chosen = None if space is None else load_space(space, base)
    try:
        with optional_libraries(), out.progress("searching") as bar:
            found = search(
                base,
                data,
                output,
                trials=trials,
                space=chosen,
                minutes=minutes,
                seed=seed,
                report=bar,
                note=out.note,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("(the same command goes on)") from None
    out.result(asdict(found), text(found))
    return 0


def text(found: Outcome) -> str:
    """The outcome for people: the score beside that of the recipe, and what was changed."""
    recipe_value = found.baseline_value
    before = "" if recipe_value is None else f"; the recipe as it was: {recipe_value:.4f}"
    rows = [[f"  {key}", _shown(value)] for key, value in found.parameters.items()]
    return "\n".join(
        [
            f"best: Dice {found.best_value:.4f} on {found.patients} held-out patients, trial "
            f"{found.best_trial}{before}",
            table(rows),
            f"{found.trials} trials: {found.completed} completed, {found.pruned} pruned, "
            f"{found.failed} failed",
            f"configuration: {found.files['best.toml']}",
        ]
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
