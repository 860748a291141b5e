"""docs/settings.md, written from the settings themselves: every key, its default and its reason.

python benchmarks/settings_page.py
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

from lvseg.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

`lvseg segment --settings FILE` (and `evaluate`, `measure`) reads a TOML file with any of the keys
below; what it leaves out keeps its default, and a key that is not here is refused. From Python:
`lvseg.settings.Settings.from_toml(path)`. The settings a result was made with stand in its
`measurements.json`, under `settings`.

    flips = true

    [postprocess]
    gap_phases = 3

This page is written by `python benchmarks/settings_page.py` from the code.
"""


def reasons(kind: type) -> dict[str, str]:
    """Field -> the text under it."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def shown(value: object) -> str:
    """A default as TOML has it; what is not set has no TOML."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f"{each:g}" for each in value) + "]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def table(values: object) -> Iterator[str]:
    """Rows of one table of the file."""
    why = reasons(type(values))
    yield "| key | default | meaning |"
    yield "| --- | --- | --- |"
    for field in fields(values):  # type: ignore[arg-type]
        value = getattr(values, field.name)
        if not is_dataclass(value):
            text = why[field.name].replace("``", "`")
            yield f"| `{field.name}` | {shown(value)} | {text} |"


def page() -> str:
    """The whole page."""
    settings = Settings()
    parts = [HEAD, "## Top level\n", *table(settings)]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            parts += [f"\n## [{field.name}]\n", *table(value)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
