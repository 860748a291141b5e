"""The rules of CONTRIBUTING that a parser can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lvseg

PACKAGE = Path(lvseg.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}

LONGEST_MODULE = 600
LONGEST_BODY = 60
#: Names that say nothing about what is inside.
VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "misc", "tools", "base"}
#: The only place that speaks to people, ends processes and sets up logging.
VOICE = "cli/"
#: Formats that run code when they are read.
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a body; the docstring does not count."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


def public_nodes(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes of a module whose names have no underscore."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def called(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_rules_see_the_package() -> None:
    assert {"pipeline.py", "cli/app.py", "train/trainer.py"} <= set(MODULES)
    assert sum(1 for tree in TREES.values() for _ in functions(tree)) > 300


def test_modules_are_short() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}


def test_bodies_are_short() -> None:
    lines = {
        (name, each.name): body_lines(each) for name in TREES for each in functions(TREES[name])
    }
    assert {place: count for place, count in lines.items() if count > LONGEST_BODY} == {}


def test_names_of_modules_say_what_is_inside() -> None:
    assert [name for name in MODULES if VAGUE & set(Path(name).with_suffix("").parts)] == []


def test_every_module_is_described() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_public_function_class_and_method_has_a_docstring() -> None:
    bare = []
    for name, tree in TREES.items():
        for node in public_nodes(tree):
            members = node.body if isinstance(node, ast.ClassDef) else []
            methods = [each for each in members if isinstance(each, ast.FunctionDef)]
            public = [node, *(each for each in methods if not each.name.startswith("_"))]
            bare += [(name, each.name) for each in public if not ast.get_docstring(each)]
    assert bare == []


def test_only_packages_list_their_names() -> None:
    """An underscore says what is private; a list beside it would say it twice."""
    listing = [
        name
        for name, tree in TREES.items()
        if "__all__" in {getattr(each, "id", "") for node in tree.body for each in ast.walk(node)}
    ]
    assert [name for name in listing if not name.endswith("__init__.py")] == []


def test_the_library_neither_prints_nor_exits_nor_sets_up_logging() -> None:
    loud = {"print", "exit", "quit", "sys.exit", "os._exit", "logging.basicConfig"}
    quiet = {name: tree for name, tree in TREES.items() if not name.startswith(VOICE)}
    assert [name for name, tree in quiet.items() if loud & set(called(tree))] == []
    speakers = [name for name, tree in TREES.items() if "print" in called(tree)]
    assert speakers == ["cli/output.py"]


def test_nothing_is_pickled() -> None:
    for name, tree in TREES.items():
        assert not PICKLES & {module.partition(".")[0] for module in imported(tree)}, name
        assert not {"torch.load", "torch.save"} & set(called(tree)), name
        keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
        assert "allow_pickle" not in keywords, name
