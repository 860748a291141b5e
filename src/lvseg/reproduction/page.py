"""Report of a reproduction: one HTML file that works offline, and the same as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lvseg.atomic import write_text
from lvseg.reproduction.tables import SPLITS, Table, budget_words, tables

PICTURES = {"curves": "learning curves", "examples": "pictures of validation patients"}
Document = Mapping[str, Any]


def write_pages(document: Document, output: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.md`` from the document of ``study.json``."""
    pages = output / "report.html", output / "report.md"
    write_text(pages[0], to_html(document, output))
    write_text(pages[1], to_markdown(document))
    return pages


def to_html(document: Document, output: Path) -> str:
    """The report as one page, with the pictures of the runs below ``output`` inside."""
    from jinja2 import Environment

    text = (resources.files("lvseg.reproduction") / "page.html").read_text("utf-8")
    template = Environment(autoescape=True).from_string(text)
    return template.render(
        scale=budget_words(document),
        made=_made(document),
        missing=", ".join(document["missing"]),
        tables=tables(document),
        runs=[_run(step, output) for step in document["steps"]],
    )


def _run(step: Mapping[str, Any], output: Path) -> dict[str, Any]:
    pictures = []
    for name, words in PICTURES.items():
        pixels = (output / "runs" / step["key"] / f"{name}.png").read_bytes()
        data = "data:image/png;base64," + base64.b64encode(pixels).decode()
        pictures.append({"words": f"{words}: {step['key']}", "data": data})
    return {"title": _title(step), "pictures": pictures}


def _title(step: Mapping[str, Any]) -> str:
    return f"{step['title']}, split {SPLITS[step['split']]}"


def to_markdown(document: Document) -> str:
    """The report as Markdown; its pictures are those of the run folders beside it."""
    lines = ["# The paper, run again", "", budget_words(document), "", _made(document), ""]
    if document["missing"]:
        lines += [f"**Not finished: {', '.join(document['missing'])}.**", ""]
    for table in tables(document):
        lines += [f"## {table.title}", "", *_markdown_rows(table), "", table.words, ""]
    lines += ["## Learning curves and pictures", ""]
    for step in document["steps"]:
        lines += [f"### {_title(step)}", ""]
        for name, words in PICTURES.items():
            lines += [f"![{words}: {step['key']}](runs/{step['key']}/{name}.png)", ""]
    return "\n".join(lines)


def _markdown_rows(table: Table) -> list[str]:
    sides = ["---", *("---:" for _ in table.header[1:])]
    return [f"| {' | '.join(row)} |" for row in (table.header, sides, *table.rows)]


def _made(document: Document) -> str:
    """How and with what the numbers were made."""
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return (
        f"Made by  lvseg reproduce --scale {document['scale']['name']}  on {document['device']}, "
        f"seed {document['seed']}; {versions}. One run of each step: another seed gives other "
        "figures. Training, validation and test patients of the official split differ; weights are "
        "those of the last epoch of every step, none is picked."
    )
