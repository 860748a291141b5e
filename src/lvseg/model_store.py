"""Model store: shipped and local models by name, verified by their hash.

A model folder holds ``model.onnx`` and ``card.json``; the card states the SHA-256 of the weights.
Shipped models lie in the package, in ``models/<name>/``. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lvseg.errors import ModelCardError, ModelError
from lvseg.modelcard import CARD, WEIGHTS, ModelCard

#: The model that is used when none is named.
DEFAULT = "lv-sax"


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model that came with the package; the files are not read here (:func:`verify` does)."""

    name: str
    folder: Path
    default: bool


def _models_folder() -> Path:
    """The folder ``models`` of the installed package; wheels are always unpacked."""
    return Path(str(resources.files("lvseg"))) / "models"


def shipped() -> tuple[ShippedModel, ...]:
    """The models in the package, the default first, then by name; none: an empty tuple."""
    root = _models_folder()
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    models = [
        ShippedModel(path.name, path, path.name == DEFAULT)
        for path in folders
        if (path / WEIGHTS).is_file() and (path / CARD).is_file()
    ]
    return tuple(sorted(models, key=lambda model: (not model.default, model.name)))


def locate(name_or_path: str = DEFAULT) -> Path:
    """The folder of a shipped model, or of a model on disk.

    A shipped name wins over a folder of the same name; write ``./name`` for the folder.

    :raises ModelError: neither a shipped name nor a folder with both files; says what is there.
    """
    models = shipped()
    for model in models:
        if model.name == name_or_path:
            return model.folder
    folder = Path(name_or_path)
    if not folder.is_dir():
        names = ", ".join(model.name for model in models) or "none"
        raise ModelError(
            f"expected a shipped model ({names}) or a model folder, found neither for "
            f"'{name_or_path}': see  lvseg models"
        )
    _require_files(folder)
    return folder


def _require_files(folder: Path) -> None:
    missing = [name for name in (WEIGHTS, CARD) if not (folder / name).is_file()]
    if missing:
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        found = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "") if there else "nothing"
        raise ModelError(
            f"expected {WEIGHTS} and {CARD} in the model folder {folder}, found {found}: "
            "name the folder that  lvseg export  wrote"
        )


def read_model(folder: Path) -> tuple[ModelCard, bytes]:
    """Card and weights of a model folder, once the SHA-256 is the one that the card states.

    :raises ModelError: a file is missing or cannot be read.
    :raises ModelCardError: the card breaks the schema.
    :raises ModelHashError: the weights are not the ones the card was written for.
    """
    folder = Path(folder)
    _require_files(folder)
    try:
        card = ModelCard.from_json((folder / CARD).read_text(encoding="utf-8"))
        weights = (folder / WEIGHTS).read_bytes()
    except UnicodeDecodeError as error:
        raise ModelCardError(
            f"expected UTF-8 text in {folder / CARD}, found other bytes"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read the model in {folder}: {error.strerror}") from error
    card.check_weights(hashlib.sha256(weights).hexdigest(), folder / WEIGHTS)
    return card, weights


def verify(folder: Path) -> ModelCard:
    """The card of a model folder that is whole; raises as :func:`read_model` does."""
    return read_model(folder)[0]
