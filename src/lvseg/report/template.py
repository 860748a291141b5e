"""Templates and texts of the HTML pages: those of the report, which other pages share."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def resource(name: str, package: str = "lvseg.report") -> str:
    """The text of a file in a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


@cache
def template(name: str, package: str = "lvseg.report") -> Template:
    """A template of a package; it may take macros from those of the report (``signs.html``)."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.from_string(resource(name, package))
