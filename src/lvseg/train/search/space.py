"""Search space: training options by dotted key, each with a distribution of Optuna."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from lvseg.bounds import read_toml
from lvseg.errors import UsageError
from lvseg.train.options import TrainOptions

#: Dotted key of an option -> distribution of Optuna; a number in a key names a place in a pair
#: (``augment.noise.1``). A choice that is a list or table stands there as JSON text.
Space = Mapping[str, Any]

#: The option that holds the largest learning rate.
RATE = "learning_rate"
#: Options that a patient-level validation score cannot choose.
FIXED = frozenset({"name", "description", "seed", "threshold", "validate_every"})
#: What an entry of a space file may say.
ENTRY = frozenset({"low", "high", "log", "choices"})


def choices(options: Iterable[Any]) -> Any:
    """A distribution over values of an option."""
    return CategoricalDistribution([_label(each) for each in options])


def _label(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Values of options for the parameters of a trial."""
    coded = [key for key, each in params.items() if str(each).startswith(("[", "{"))]
    return {**params, **{key: json.loads(params[key]) for key in coded}}


def recipe_draw(space: Space, base: TrainOptions) -> dict[str, Any]:
    """What a recipe itself would have drawn; options that the space does not hold are left out."""
    own = {key: _label(value_at(base, key)) for key in space}
    return {key: value for key, value in own.items() if _holds(space[key], value)}


def _holds(distribution: Any, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def value_at(options: TrainOptions, key: str) -> Any:
    """The value of a dotted key as JSON has it; None where there is none."""
    found: Any = options.model_dump(mode="json")
    try:
        for part in key.split("."):
            found = found[_index(found, part, key)]
    except (KeyError, UsageError):
        return None
    return found


def applied(options: TrainOptions, changes: Mapping[str, Any]) -> TrainOptions:
    """Options with other values at some dotted keys, checked as a whole.

    :raises UsageError: a key that leads through a plain value.
    :raises pydantic.ValidationError: no such option, or a value it does not take.
    """
    document = options.model_dump(mode="json")
    for key, value in changes.items():
        *way, last = key.split(".")
        holder: Any = document
        for part in way:
            index = _index(holder, part, key)
            holder = holder.setdefault(index, {}) if isinstance(holder, dict) else holder[index]
        holder[_index(holder, last, key)] = value
    return TrainOptions.model_validate(document)


def _index(holder: Any, part: str, key: str) -> Any:
    """What a part of a dotted key stands for: a name in a table, a number in a list.

    :raises UsageError: neither, or no such place in the list.
    """
    if isinstance(holder, dict):
        return part
    if isinstance(holder, list) and part.isdecimal() and int(part) < len(holder):
        return int(part)
    raise UsageError(f"expected a training option, found '{key}': there is none inside")


def default_space(base: TrainOptions) -> Space:
    """Learning rate, averaging, batch and strength of augmentation, around a recipe's values.

    Options that the recipe does not have or use are left out.
    """
    rate, batch = value_at(base, RATE), base.batch_size
    noise = value_at(base, "augment.noise.0") or 0.0
    wanted = {
        RATE: FloatDistribution(rate / 10, rate * 10, log=True),
        "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
        "ema_decay": choices(sorted({0.99, 0.995, 0.998, 0.999, base.ema_decay})),
        "batch_size": choices(sorted({max(1, batch // 2), batch, 2 * batch})),
        "augment.shift_px": FloatDistribution(0.0, 32.0),
        "augment.elastic_px": FloatDistribution(0.0, 8.0),
        "augment.bias": FloatDistribution(0.0, 0.8),
        "augment.noise.1": FloatDistribution(noise, noise + 0.1),
        "augment.blur_chance": FloatDistribution(0.0, 0.3),
    }
    return {key: each for key, each in wanted.items() if value_at(base, key) is not None}


def load_space(path: Path, base: TrainOptions) -> Space:
    """Read a search space: ``[space]`` with ``key = {low, high, log}`` or ``{choices}`` lines.

    :raises UsageError: no such file, broken TOML, an option that does not exist, a value it does
        not take, or nothing to search.
    """
    document = read_toml(path, "a search space")
    table = document.get("space")
    if set(document) != {"space"} or not isinstance(table, dict) or not table:
        found = ", ".join(sorted(document)) or "nothing"
        raise UsageError(f"expected one table [space] with options in {path}, found {found}")
    space = {}
    for key, entry in _entries(table):
        space[key] = _distribution(entry, whole=not isinstance(value_at(base, key), float))
        if space[key] is None:
            raise UsageError(
                f"in {path}, key '{key}': expected low and high, or choices: low < high, above 0 "
                f"with log = true; or at least one choice; found {json.dumps(entry, default=str)}"
            )
    return check_space(space, base, str(path))


def _entries(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their entries; ``a.b = {...}`` without quotes nests, and means the same."""
    for name, entry in table.items():
        if isinstance(entry, dict) and entry and not ENTRY & set(entry):
            yield from _entries(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def _distribution(entry: Any, *, whole: bool) -> Any:
    """The distribution of an entry, None where it makes no sense.

    :param whole: two whole ends mean whole numbers.
    """
    match entry:
        case {"choices": [_, *_] as options, **rest} if not rest:
            return choices(options)
        case {"low": int() | float() as low, "high": int() | float() as high, **rest}:
            log = rest.pop("log", False)
            positive = isinstance(log, bool) and (low > 0 or not log)
            if rest or not positive or bool in (type(low), type(high)) or not low < high:
                return None
            integers = whole and isinstance(low, int) and isinstance(high, int)
            return (IntDistribution if integers else FloatDistribution)(low, high, log=log)
    return None


def check_space(space: Space, base: TrainOptions, where: str) -> Space:
    """Try every end and every choice on the recipe; returns the space.

    :raises UsageError: an option that does not exist or is not to be searched, or a bad value.
    """
    for key, each in space.items():
        if key in FIXED or key.endswith("_split"):
            raise UsageError(
                f"in {where}, key '{key}': a validation score cannot choose it; patients and "
                "names are set in the recipe"
            )
        categorical = isinstance(each, CategoricalDistribution)
        for value in each.choices if categorical else (each.low, each.high):
            try:
                applied(base, values({key: value}))
            except ValidationError as error:
                if not _needs_another(error, key, space):
                    message = error.errors()[0]["msg"]
                    raise UsageError(f"in {where}, key '{key}': {message}") from error
            except UsageError as error:
                raise UsageError(f"in {where}: {error}") from error
    return space


def _needs_another(error: ValidationError, own: str, space: Space) -> bool:
    """Whether the refusal is about a combination that another option of the space may mend."""
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    group = "" if where == "" else f"{where}."
    return own.startswith(group) and any(k.startswith(group) for k in space if k != own)
