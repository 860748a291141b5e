"""Every sub-command explains itself, and only what works is registered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer
from command_line import Ended

from lvseg.cli import app

COMMANDS = [
    ["segment"],
    ["table"],
    ["list"],
    ["demo"],
    ["serve"],
    ["measure"],
    ["assess"],
    ["compare"],
    ["prepare", "sunnybrook"],
    ["prepare", "images"],
    ["augment"],
    ["check"],
    ["train"],
    ["calibrate"],
    ["tune"],
    ["export"],
    ["evaluate"],
    ["reproduce"],
    ["models"],
    ["doctor"],
]


def registered(group: typer.Typer, prefix: tuple[str, ...] = ()) -> list[list[str]]:
    own = [[*prefix, str(each.name)] for each in group.registered_commands]
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        own += registered(sub.typer_instance, (*prefix, str(sub.name)))
    return own


def test_the_commands_are_these() -> None:
    assert sorted(registered(app)) == sorted(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(
    words: list[str], lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command(*words, "--help")
    assert ended.status == 0
    assert ended.err == ""
    assert f"Example:  lvseg {' '.join(words)}" in ended.out
    for option in ("--json", "--quiet", "--debug"):
        assert option in ended.out


def test_the_version_is_printed(lvseg_command: Callable[..., Ended]) -> None:
    from lvseg.version import __version__

    assert lvseg_command("--version").out == f"lvseg {__version__}\n"
