"""The wheel holds what users need and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from lvseg import model_store

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "lvseg"
#: A wheel is downloaded by everyone; a larger file needs another home.
LARGEST_FILE_BYTES = 8_000_000


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Name -> bytes of every file of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    # Without hatchling here, pip fetches it for the build.
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, *isolation, "--wheel-dir", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("lvseg-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist()}


def test_every_module_of_the_source_is_inside(contents: dict[str, int]) -> None:
    modules = {f"lvseg/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*.py")}
    assert {"lvseg/cli/app.py", "lvseg/train/trainer.py"} <= modules <= set(contents)


def test_types_presets_and_models_are_inside(contents: dict[str, int]) -> None:
    kinds = ("py.typed", "__init__.pyi", "train/presets/*.toml", "models/*/card.json")
    for pattern in (*kinds, "report/page.*", "models/*/model.onnx"):
        found = {f"lvseg/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.glob(pattern)}
        if found or not pattern.startswith("models"):
            assert found, pattern
            assert found <= set(contents)


def test_the_default_model_is_inside(contents: dict[str, int]) -> None:
    if not (SOURCE / "models" / model_store.DEFAULT).is_dir():
        pytest.skip("missing: the shipped model")
    for name in ("model.onnx", "card.json"):
        assert f"lvseg/models/{model_store.DEFAULT}/{name}" in contents


def test_nothing_else_is_inside(contents: dict[str, int]) -> None:
    assert {name.split("/")[0].rpartition(".")[2] for name in contents} == {"lvseg", "dist-info"}
    endings = {Path(name).suffix for name in contents if name.startswith("lvseg/")}
    assert endings <= {
        *(".py", ".pyi", ".typed", ".toml", ".json", ".onnx", ".safetensors"),
        *(".html", ".css", ".js"),
    }
    assert not [name for name in contents if "test" in Path(name).name.lower()]


def test_no_file_is_large(contents: dict[str, int]) -> None:
    assert {name for name, size in contents.items() if size > LARGEST_FILE_BYTES} == set()


def test_the_licence_and_the_command_come_along(contents: dict[str, int]) -> None:
    names = {name.partition("/")[2] for name in contents if ".dist-info/" in name}
    assert {"licenses/LICENSE", "entry_points.txt", "METADATA"} <= names
