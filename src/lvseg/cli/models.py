"""`lvseg models`: the shipped models, verified, and what each is for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lvseg.cli.app import command
from lvseg.cli.options import found_models
from lvseg.cli.output import Output, table

#: What a shipped model is for.
PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "lv-sax": "every study; taught by all patients there are",
        "lv-sax-30": "judging the recipe: its twin, whose teachers leave 15 patients to test it",
    }
)


@command("models", example="lvseg models")
def models(out: Output) -> int:
    """Show and verify the shipped models.

    Which is the default, what each is for and what it outlines.
    """
    found = [each | {"purpose": PURPOSES.get(each["name"], "")} for each in found_models()]
    rows = [("name", "for", "outlines", "verified", "parameters", "folder")]
    for each in found:
        verdict = "yes" if each["verified"] else f"NO: {each['error']}"
        name = f"{each['name']} (default)" if each["default"] else each["name"]
        outlines = ", ".join(each.get("labels", ())) or "?"
        size = str(each.get("parameters", "?"))
        rows.append((name, each["purpose"], outlines, verdict, size, str(each["folder"])))
    text = f"{table(rows)}\nanother than the default:  lvseg segment SOURCE -o OUT --model NAME"
    out.result({"models": found}, text if found else "no models are shipped")
    return 0 if all(each["verified"] for each in found) else 5
