"""What a search may change: training options by dotted key, each with a range or choices."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt, ValidationError

from lvseg.errors import UsageError
from lvseg.train.options import TrainOptions

__all__ = ["Parameter", "applied", "check_space", "default_space", "load_space", "value_at"]

#: Options that a patient-level validation score cannot choose.
FIXED = frozenset({"name", "description", "seed", "threshold", "validate_every"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One option that a search changes.

    :param key: dotted name of the option; a number names a place in a pair (``augment.noise.1``).
    :param low, high: ends of the range, both included; :param log: drawn evenly on a log scale.
    :param whole: whole numbers only.
    :param choices: values to choose from instead of a range.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def labels(self) -> tuple[str | float | bool, ...]:
        """The choices as plain values: lists as JSON text."""
        plain = (str, int, float)
        return tuple(each if isinstance(each, plain) else json.dumps(each) for each in self.choices)

    def value(self, drawn: Any) -> Any:
        """The value of the option for what was drawn (a number, or a label of a choice)."""
        return self.choices[self.labels.index(drawn)] if self.choices else drawn

    def contains(self, value: Any) -> bool:
        """Whether a value of the option lies in the space."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high


class _Entry(BaseModel):
    """A line of a space file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: StrictInt | StrictFloat | None = None
    high: StrictInt | StrictFloat | None = None
    log: bool = False
    choices: list[Any] | None = None


def value_at(options: TrainOptions, key: str) -> Any:
    """The value of a dotted key as JSON has it; None where there is none."""
    found: Any = options.model_dump(mode="json")
    for part in key.split("."):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def applied(options: TrainOptions, values: Mapping[str, Any]) -> TrainOptions:
    """Options with other values at some dotted keys, checked as a whole.

    :raises UsageError: a key that leads through a plain value.
    :raises pydantic.ValidationError: no such option, or a value it does not take.
    """
    document = options.model_dump(mode="json")
    for key, value in values.items():
        *way, last = key.split(".")
        place: Any = document
        for part in way:
            place = place[int(part)] if _is_place(place, part) else _inside(place, part)
        if _is_place(place, last):
            place[int(last)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise UsageError(f"expected a training option, found '{key}': there is none inside")
    return TrainOptions.model_validate(document)


def _is_place(holder: Any, part: str) -> bool:
    return isinstance(holder, list) and part.isdecimal() and int(part) < len(holder)


def _inside(holder: Any, part: str) -> Any:
    return holder.setdefault(part, {}) if isinstance(holder, dict) else None


def default_space(base: TrainOptions) -> tuple[Parameter, ...]:
    """Optimiser, averaging, batch and strength of augmentation, around the values of a recipe.

    Options that the recipe does not have or use are left out.
    """
    rate, batch = base.peak_rate, base.batch_size
    quiet = value_at(base, "augment.noise.0") or 0.0
    batches = tuple(sorted({max(1, batch // 2), batch, 2 * batch}))
    decays = tuple(sorted({0.99, 0.995, 0.998, 0.999, base.ema_decay}))
    wanted = [
        Parameter("peak_rate", rate / 10, rate * 10, log=True),
        Parameter("weight_decay", 1e-5, 1e-1, log=True),
        Parameter("ema_decay", choices=decays),
        Parameter("batch_size", choices=batches),
        Parameter("augment.shift_px", 0.0, 32.0),
        Parameter("augment.elastic_px", 0.0, 8.0),
        Parameter("augment.bias", 0.0, 0.8),
        Parameter("augment.noise.1", quiet, quiet + 0.1),
        Parameter("augment.blur_chance", 0.0, 0.3),
    ]
    if not base.augmented:
        wanted = [each for each in wanted if not each.key.startswith("augment.")]
    return tuple(each for each in wanted if value_at(base, each.key) is not None)


def load_space(path: Path, base: TrainOptions) -> tuple[Parameter, ...]:
    """Read a search space: ``[space]`` with ``key = {low, high, log}`` or ``{choices}`` lines.

    :raises UsageError: no such file, broken TOML, an option that does not exist, a value it does
        not take, or nothing to search.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the search space {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"expected TOML in {path}: {error}") from error
    table = document.get("space")
    if set(document) != {"space"} or not isinstance(table, dict) or not table:
        found = ", ".join(sorted(document)) or "nothing"
        raise UsageError(f"expected one table [space] with options in {path}, found {found}")
    space = tuple(_parameter(key, entry, base, path) for key, entry in _entries(table))
    return check_space(space, base, str(path))


def _entries(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their entries; ``a.b = {...}`` without quotes nests, and means the same."""
    for name, entry in table.items():
        nested = isinstance(entry, dict) and not set(entry) & set(_Entry.model_fields)
        if nested and entry:
            yield from _entries(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def _parameter(key: str, entry: Any, base: TrainOptions, path: Path) -> Parameter:
    where = f"in {path}, key '{key}'"
    try:
        read = _Entry.model_validate(entry)
    except ValidationError as error:
        raise UsageError(f"{where}: {error.errors()[0]['msg']}") from error
    if read.choices is not None and read.low is None and read.high is None:
        if not read.choices or read.log:
            raise UsageError(f"{where}: expected at least one choice, and no log with choices")
        return Parameter(key, choices=tuple(read.choices))
    if read.choices is not None or read.low is None or read.high is None:
        raise UsageError(f"{where}: expected low and high, or choices")
    if not read.low < read.high or (read.log and read.low <= 0):
        raise UsageError(f"{where}: expected low < high, and above 0 with log = true")
    now = value_at(base, key)
    whole = isinstance(read.low, int) and isinstance(read.high, int)
    return Parameter(key, read.low, read.high, read.log, whole and not isinstance(now, float))


def check_space(
    space: Sequence[Parameter], base: TrainOptions, where: str
) -> tuple[Parameter, ...]:
    """Try every end and every choice on the recipe; returns the space.

    :raises UsageError: an option that does not exist or is not to be searched, or a bad value.
    """
    for each in space:
        if each.key in FIXED or each.key.endswith("_split"):
            raise UsageError(
                f"in {where}, key '{each.key}': a validation score cannot choose it; patients and "
                "names are set in the recipe"
            )
        for value in each.choices or (each.low, each.high):
            try:
                applied(base, {each.key: int(value) if each.whole else value})
            except ValidationError as error:
                if not _needs_another(error, each, space):
                    first = error.errors()[0]
                    raise UsageError(f"in {where}, key '{each.key}': {first['msg']}") from error
            except UsageError as error:
                raise UsageError(f"in {where}: {error}") from error
    return tuple(space)


def _needs_another(error: ValidationError, own: Parameter, space: Sequence[Parameter]) -> bool:
    """Whether the refusal is about a combination that another option of the space may mend."""
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    others = (each.key for each in space if each is not own)
    whole_group = where == "" or own.key.startswith(f"{where}.")
    return whole_group and any(where == "" or key.startswith(f"{where}.") for key in others)
