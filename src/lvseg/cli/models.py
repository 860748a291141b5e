"""`lvseg models`: the shipped models, verified."""

from __future__ import annotations

from lvseg.cli.app import command
from lvseg.cli.options import found_models
from lvseg.cli.output import Output, table


@command("models", example="lvseg models")
def models(out: Output) -> int:
    """Show and verify the shipped models."""
    found = found_models()
    rows = [("name", "verified", "parameters", "folder")]
    for each in found:
        verdict = "yes" if each["verified"] else f"NO: {each['error']}"
        rows.append((each["name"], verdict, str(each.get("parameters", "?")), str(each["folder"])))
    out.result({"models": found}, table(rows) if found else "no models are shipped")
    return 0 if all(each["verified"] for each in found) else 5
