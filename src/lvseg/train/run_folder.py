"""Output folder of a long run: used by one process at a time, and always with the same settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from lvseg.bounds import read_json_object
from lvseg.errors import UsageError

Kept = TypeVar("Kept")


@contextmanager
def exclusive_lock(folder: Path, what: str) -> Iterator[None]:
    """Make the folder and hold it while the block runs.

    :param what: what goes on there, for the message.
    :raises UsageError: another process holds it, or it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UsageError(f"expected no other {what} in {folder}, found one going on") from None
    except OSError as error:
        raise UsageError(
            f"expected a folder for the {what} that can be written, found {folder}: "
            f"{error.strerror or error}; choose another"
        ) from error
    with held:
        yield


def same_settings(
    folder: Path, what: str, settings: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Compare settings with those that the run in a folder was begun with.

    :param what: what goes on there, for the message.
    :param earlier: what was stored when the run began; None = it begins now.
    :returns: the settings as JSON gives them back (lists for tuples), to be stored by the caller.
    :raises UsageError: they differ; the message names the keys.
    """
    own: dict[str, Any] = json.loads(json.dumps(settings))
    if earlier is not None and earlier != own:
        keys = dict.fromkeys([*own, *earlier])
        other = ", ".join(key for key in keys if own.get(key) != earlier.get(key))
        raise UsageError(
            f"expected the {what} that {folder} was begun with, found another {other}: "
            "name a new folder"
        )
    return own


def read_kept(path: Path, kind: type[Kept]) -> Kept:
    """What an earlier run has left in a JSON file of its folder.

    :param kind: what it must be, as a type that pydantic checks.
    :raises UsageError: it is something else, or broken.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json_object(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"expected what an earlier run left, found a broken file at {path}: remove it to have "
            "it made again, or name a new folder"
        ) from error
