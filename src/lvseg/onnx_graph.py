"""ONNX graph: what a model file states of itself, read without running or loading anything.

A model is data of others. Before an engine gets it, this module reads its operators, its inputs and
outputs and whether all its weights are in the file, so that the hash of the file covers them. Field
numbers are those of onnx.proto (ONNX 1.16, IR version 10); the encoding is that of Protocol
Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

#: Operators that a network needs to make scores of an image. There is no loop, no branch, nothing
#: random and nothing that calls other code; all are of ONNX's own domain.
OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat
    Constant ConstantOfShape Conv ConvInteger ConvTranspose CumSum DepthToSpace DequantizeLinear Div
    Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Mean Min Mish Mod
    Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceL2
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round Selu Shape Sigmoid
    Sign Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile TopK
    Transpose Trilu Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905 - a table
)
_DOMAINS = ("", "ai.onnx")
#: A network of this kind has some hundred nodes.
MOST_NODES = 20_000
#: Pieces of a message that are looked at; a graph of so many nodes has some hundred thousand.
_MOST_FIELDS = 2_000_000
FLOAT = 1
_EXTERNAL = 1
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: its type as onnx.proto numbers them, and its sizes.

    :param sizes: None = any size; the whole is None where no shape is stated.
    """

    name: str
    kind: int
    sizes: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What a model file states.

    :param operators: of all nodes, those of foreign domains as ``domain.Operator``.
    :param external: names of tensors whose data lie in another file.
    :param branching: whether a node holds a graph of its own.
    """

    operators: frozenset[str]
    nodes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external: tuple[str, ...]
    branching: bool


@dataclass(slots=True)
class _Found:
    """What is collected on the way."""

    operators: set[str] = field(default_factory=set)
    nodes: int = 0
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    weights: set[str] = field(default_factory=set)
    external: list[str] = field(default_factory=list)
    branching: bool = False
    fields: int = 0


def read_graph(content: bytes) -> Graph:
    """The graph of an ONNX file.

    :raises ValueError: it is none, or is broken.
    """
    found, graphs = _Found(), 0
    for number, value in _fields(memoryview(content), found):
        if number == 7 and isinstance(value, memoryview):
            graphs += 1
            _graph(value, found)
        elif number == 25:
            found.operators.add("a function of its own")
    if graphs != 1:
        raise ValueError(f"{graphs} graphs instead of one")
    return Graph(
        frozenset(found.operators),
        found.nodes,
        tuple(each for each in found.inputs if each.name not in found.weights),
        tuple(found.outputs),
        tuple(found.external),
        found.branching,
    )


def _graph(message: memoryview, found: _Found) -> None:
    for number, value in _fields(message, found):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            _node(value, found)
        elif number == 5:
            found.weights.add(_tensor(value, found))
        elif number == 15:
            _sparse_tensor(value, found)
        elif number in (11, 12):
            (found.inputs if number == 11 else found.outputs).append(_value_info(value, found))


def _node(message: memoryview, found: _Found) -> None:
    operator = domain = ""
    for number, value in _fields(message, found):
        if not isinstance(value, memoryview):
            continue
        if number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            _attribute(value, found)
    found.nodes += 1
    found.operators.add(operator if domain in _DOMAINS else f"{domain}.{operator}")


def _attribute(message: memoryview, found: _Found) -> None:
    for number, value in _fields(message, found):
        if number in (6, 11):
            found.branching = True
        elif number in (5, 10) and isinstance(value, memoryview):
            _tensor(value, found)
        elif number in (22, 23) and isinstance(value, memoryview):
            _sparse_tensor(value, found)


def _sparse_tensor(message: memoryview, found: _Found) -> None:
    """Values and indices, each a tensor."""
    for number, value in _fields(message, found):
        if number in (1, 2) and isinstance(value, memoryview):
            _tensor(value, found)


def _tensor(message: memoryview, found: _Found) -> str:
    """The name of a tensor; its data are not looked at."""
    name, external = "", False
    for number, value in _fields(message, found):
        if number == 8 and isinstance(value, memoryview):
            name = _text(value)
        external |= number == 13 or (number == 14 and value == _EXTERNAL)
    if external:
        found.external.append(name)
    return name


def _value_info(message: memoryview, found: _Found) -> Tensor:
    name, kind, sizes = "", 0, None
    for number, value in _fields(message, found):
        if number == 1 and isinstance(value, memoryview):
            name = _text(value)
        for part, tensor in _within(number == 2, value, found):
            for detail, inner in _within(part == 1, tensor, found):
                if detail == 1 and isinstance(inner, int):
                    kind = inner
                elif detail == 2 and isinstance(inner, memoryview):
                    sizes = _sizes(inner, found)
    return Tensor(name, kind, sizes)


def _sizes(message: memoryview, found: _Found) -> tuple[int | None, ...]:
    sizes: list[int | None] = []
    for number, dimension in _fields(message, found):
        size = None
        for detail, value in _within(number == 1, dimension, found):
            if detail == 1 and isinstance(value, int):
                size = value
        sizes.append(size)
    return tuple(sizes)


def _within(
    wanted: bool, value: memoryview | int, found: _Found
) -> Iterator[tuple[int, memoryview | int]]:
    return _fields(value, found) if wanted and isinstance(value, memoryview) else iter(())


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _fields(message: memoryview, found: _Found) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, value) of a message; numbers of fixed width are given as 0.

    :raises ValueError: broken, or more of them than a graph has.
    """
    place, end = 0, len(message)
    while place < end:
        found.fields += 1
        if found.fields > _MOST_FIELDS:
            raise ValueError("more parts than a graph has")
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError("no Protocol Buffers")
        if place + size > end:
            raise ValueError("it is cut short")
        yield number, message[place : place + size] if kind == _BYTES else 0
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it is cut short")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("no Protocol Buffers")
