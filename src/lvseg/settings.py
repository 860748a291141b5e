"""Settings of the main path: clean-up, measurement, limits of the checks and of what is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from lvseg.body import BodySettings
from lvseg.bounds import ReadingLimits, read_toml
from lvseg.errors import UsageError
from lvseg.measurement import MeasurementSettings
from lvseg.modelcard import ModelCard
from lvseg.postprocess import PostprocessSettings
from lvseg.quality import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """Every choice of the main path; a TOML file has a table for each nested one."""

    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    measurement: MeasurementSettings = field(default_factory=MeasurementSettings)
    limits: Limits = field(default_factory=Limits)
    body: BodySettings = field(default_factory=BodySettings)
    reading: ReadingLimits = field(default_factory=ReadingLimits)
    batch_size: int = 4
    """Crops predicted at once: more need more memory and are hardly faster."""
    flips: bool = False
    """Average four mirrored predictions of each frame (docs/decisions/0005)."""
    keep_probabilities: bool = False
    """The result holds the probabilities too, for a fractional DICOM SEG."""

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Settings from a TOML file; what it leaves out keeps its default.

        :raises UsageError: no such file, broken TOML, an unknown key or a wrong type.
        """
        table = read_toml(path, "settings")
        unknown = _unknown_keys(cls(), table)
        if unknown:
            raise UsageError(
                f"expected settings that lvseg knows in {path}, found {', '.join(unknown)}: see "
                "docs/settings.md"
            )
        try:
            settings = TypeAdapter(cls).validate_python(table)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"in the settings {path}, key '{key}': {first['msg']}") from error
        for key, value in _leaves(settings.to_dict()):
            fault = _fault(key, value)
            if fault:
                raise UsageError(f"in the settings {path}, key '{key}': expected {fault}")
        return settings

    def for_model(self, card: ModelCard) -> Self:
        """The settings with the model's own threshold where none is set."""
        if self.postprocess.threshold is not None:
            return self
        threshold = card.output.threshold
        return replace(self, postprocess=replace(self.postprocess, threshold=threshold))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON and TOML have them."""
        return asdict(self)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, those of nested tables as ``table.key``."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _fault(key: str, value: Any) -> str:
    """What a value should be and is not; empty where it may be used.

    Names tell: a share and a threshold lie within 0..1, a pair ascends, and no number of ours is
    negative, infinite or not a number.
    """
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(each, str | bool | None) for each in numbers):
        return ""
    most = 1.0 if key.endswith(("_share", "threshold")) else math.inf
    if key.endswith("smoothing"):
        most = 0.5  # of each of two neighbours
    if not all(0 <= each <= most and math.isfinite(each) for each in numbers):
        return "a finite number, 0 or more" if most == math.inf else f"a number from 0 to {most:g}"
    if (key == "batch_size" or key.startswith("reading.")) and value < 1:
        return "at least 1"
    return "" if list(numbers) == sorted(set(numbers)) else "two numbers, the smaller first"


def _unknown_keys(known: Any, table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys of a table, and of the tables in it, that a dataclass has no field for."""
    names = {each.name for each in fields(known)}
    found = []
    for key, value in table.items():
        nested = getattr(known, key, None)
        if key not in names:
            found.append(prefix + key)
        elif isinstance(value, Mapping) and is_dataclass(nested):
            found += _unknown_keys(nested, value, f"{prefix}{key}.")
    return found
