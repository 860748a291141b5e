"""Model store: shipped and local models by name, verified by their hash.

A model folder holds ``model.onnx`` and ``card.json``; the card states the SHA-256 of the weights.
Shipped models lie in the package, in ``models/<name>/``. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lvseg.bounds import read_bytes
from lvseg.errors import ModelCardError, ModelError, ModelInputError
from lvseg.modelcard import CARD, WEIGHTS, ModelCard
from lvseg.onnx_graph import FLOAT, MOST_NODES, OPERATORS, Graph, Tensor, read_graph

#: The model that is used when none is named.
DEFAULT = "lv-sax"
#: The card of a model that lists the images of a large data set has some MB.
MOST_CARD_BYTES = 16 * 2**20
MOST_WEIGHTS_BYTES = 2**30
#: Endings of files that run code when they are loaded, and how such files begin.
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


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
    if folder.suffix.lower() in PICKLES:
        raise ModelError(f"expected a model folder, found {folder}, {_PICKLE_ADVICE}")
    if folder.is_file():
        raise ModelError(
            f"expected a model folder with {WEIGHTS} and {CARD}, found the file {folder}: "
            "name the folder that  lvseg export  wrote"
        )
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
        pickles = [name for name in there if name.lower().endswith(PICKLES)]
        if pickles:
            raise ModelError(
                f"expected {WEIGHTS} and {CARD} in {folder}, found {pickles[0]}, {_PICKLE_ADVICE}"
            )
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
        card = ModelCard.from_json(read_bytes(folder / CARD, MOST_CARD_BYTES).decode("utf-8"))
        weights = read_bytes(folder / WEIGHTS, MOST_WEIGHTS_BYTES)
    except UnicodeDecodeError as error:
        raise ModelCardError(
            f"expected UTF-8 text in {folder / CARD}, found other bytes"
        ) from error
    except OSError as error:
        raise ModelError(
            f"expected a model that can be read, found {error.strerror} at "
            f"{error.filename or folder}: install or copy the model again"
        ) from error
    card.check_weights(hashlib.sha256(weights).hexdigest(), folder / WEIGHTS)
    return card, weights


def verify(folder: Path) -> ModelCard:
    """The card of a model folder that is whole; raises as :func:`read_model` does."""
    return read_model(folder)[0]


_PICKLE_ADVICE = (
    "a pickle, which runs code when it is loaded and is never opened: make a model of its run with "
    "lvseg export"
)


def check_graph(weights: bytes, card: ModelCard, where: object) -> None:
    """Hold the graph of a model to what an engine may run, and to its card.

    :param weights: the bytes of the ONNX file; :param where: its place, for messages.
    :raises ModelError: no ONNX, an operator that is not known, weights in another file, too many
        nodes. ModelInputError: other inputs or outputs than the card says.
    """
    try:
        graph = read_graph(weights)
    except ValueError as error:
        pickled = weights.startswith(_PICKLE_MAGIC)
        raise ModelError(
            f"expected an ONNX graph, found "
            f"{_PICKLE_ADVICE if pickled else f'something else ({error})'} at {where}"
            f"{'' if pickled else ': copy the model again'}"
        ) from error
    fault = _unfit_to_run(graph)
    if fault:
        raise ModelError(f"{fault} in {where}: export the model anew with  lvseg export")
    fault = _unlike_card(graph, card)
    if fault:
        raise ModelInputError(f"{fault} in {where}: graph and card do not belong together")


def _unfit_to_run(graph: Graph) -> str:
    """Why no engine gets a graph; "" where one may."""
    if graph.external:
        return (
            f"expected all weights in the file, which its hash covers, found those of "
            f"{len(graph.external)} tensor(s) in another file (external data, first: "
            f"{graph.external[0] or 'unnamed'})"
        )
    unknown = sorted(graph.operators - OPERATORS)
    if unknown or graph.branching:
        found = ", ".join(unknown[:3]) or "a node with a graph of its own"
        return f"expected operators that make scores of an image, found {found}"
    if graph.nodes > MOST_NODES:
        return f"expected at most {MOST_NODES} nodes, found {graph.nodes}"
    return ""


def _unlike_card(graph: Graph, card: ModelCard) -> str:
    """What of inputs and outputs is not as the card says; "" where all is."""
    for word, tensors, channels in (
        ("input", graph.inputs, card.input.channels),
        ("output", graph.outputs, card.output.labels),
    ):
        if len(tensors) != 1:
            return f"expected one {word}, found {len(tensors)}"
        shape, count = tensors[0], len(channels)
        if shape.kind != FLOAT or not _fits(shape, count):
            return (
                f"expected float32 {word} [any, {count}, any, any] for {', '.join(channels)} of "
                f"the card, found {_shape_text(shape)}"
            )
    return ""


def _fits(found: Tensor, channels: int) -> bool:
    if found.sizes is None:
        return True
    return len(found.sizes) == 4 and all(
        size is None or size == wanted
        for size, wanted in zip(found.sizes, (None, channels, None, None), strict=True)
    )


def _shape_text(found: Tensor) -> str:
    kind = "float32" if found.kind == FLOAT else f"type {found.kind}"
    if found.sizes is None:
        return kind
    return f"{kind} [{', '.join('any' if size is None else str(size) for size in found.sizes)}]"
