"""What the documents show works: doctests, the README's code and commands, links."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended

import lvseg
from lvseg import model_store

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(lvseg.__file__).parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def modules_with_examples() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text("utf-8"):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found.append(".".join(["lvseg", *(part for part in parts if part != "__init__")]))
    return found


def commands() -> list[str]:
    """Command lines of the README and the docs."""
    found = []
    for path in DOCUMENTS:
        for line in re.findall(r"^ {4}(lvseg .*)$", path.read_text("utf-8"), re.MULTILINE):
            words = line.split("#")[0].strip()
            found += [words] if words not in found else []
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_code_of_the_readme_runs(
    phantom_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if model_store.DEFAULT not in {model.name for model in model_store.shipped()}:
        pytest.skip("missing: the shipped model")
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    code = blocks[0].replace("path/to/dicom", str(phantom_dicom))
    assert str(phantom_dicom) in code
    exec(compile(code, "README.md", "exec"), {})
    ef_percent, verdict = capsys.readouterr().out.split()
    assert 0 < float(ef_percent) < 100
    assert verdict in ("pass", "review", "fail")


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_docs_exists_with_its_options(
    line: str, lvseg_command: Callable[..., Ended]
) -> None:
    words = line.split()[1:]
    path = words[:2] if words[0] == "prepare" else words[:1]
    ended = lvseg_command(*path, "--help")
    assert ended.status == 0, ended.err
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", ended.out), option


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_page_of_settings_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location(
        "settings_page", ROOT / "benchmarks" / "settings_page.py"
    )
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.PAGE.read_text("utf-8") == maker.page()
