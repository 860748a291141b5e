"""Stored values of DICOM frames, from a file or an archive.

Uncompressed frames are read straight from their place in the file. Compressed ones go through
pydicom with the GDCM plugin, once the size in their code is that of the header
(:mod:`lvseg.read.codes`, which decodes RLE itself).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from lvseg.errors import ReadError, UnsupportedEncodingError
from lvseg.read.codes import coded_frames, run_lengths
from lvseg.read.parsing import parsed
from lvseg.read.sources import Blob, Files


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """Where the pixels of one DICOM instance are and how they are stored (PS3.5 section 8).

    :param transfer_syntax: the real one; :param stated_syntax: the one the file names.
    :param offset: place of the pixel value in the file; None in a deflated one.
    :param length: its length as declared; None = undefined, which means encapsulated.
    """

    blob: Blob
    transfer_syntax: str
    stated_syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    offset: int | None
    length: int | None


def stored_frames(
    instance: Instance, files: Files, wanted: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """Stored values ``[Y, X]`` of the wanted frames (from 0), in the order asked for.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2: the least value is white) is turned round, so that larger is
    always brighter.

    :raises ReadError: colour, fewer pixels than declared, broken data.
    :raises UnsupportedEncodingError: no decoder for the transfer syntax or the sample size.
    """
    if instance.samples != 1:
        raise ReadError(
            f"expected grey pixels, found {instance.samples} samples in {instance.blob.label}"
        )
    syntax = UID(instance.transfer_syntax)
    known = syntax.is_transfer_syntax and not syntax.is_private
    if known and not syntax.is_encapsulated and instance.length is not None:
        frames = _native(instance, files, wanted)
    else:
        frames = _decoded(instance, files, wanted, syntax)
    for frame in frames:
        yield _upright(instance, frame)


def _upright(instance: Instance, frame: NDArray[Any]) -> NDArray[Any]:
    if not instance.inverted:
        return frame
    top = 2 ** (instance.bits_stored - 1) - 1 if instance.signed else 2**instance.bits_stored - 1
    bottom = -(2 ** (instance.bits_stored - 1)) if instance.signed else 0
    flipped: NDArray[Any] = (top + bottom) - frame.astype(np.int64)
    return flipped


def _native(instance: Instance, files: Files, wanted: Sequence[int]) -> Iterator[NDArray[Any]]:
    if instance.bits_allocated not in (8, 16, 32):
        raise UnsupportedEncodingError(
            f"expected 8, 16 or 32 bits per pixel, found {instance.bits_allocated} "
            f"in {instance.blob.label}: export the images again"
        )
    files.limits.hold("frame_pixels", instance.rows * instance.columns, instance.blob.label)
    size = instance.rows * instance.columns * instance.bits_allocated // 8
    if (instance.length or 0) < size * instance.frames:
        raise _too_short(instance, size * instance.frames, instance.length or 0)
    with files.open(instance.blob) as stream:
        for index in wanted:
            stream.seek((instance.offset or 0) + index * size)
            yield _as_array(instance, stream.read(size), size)


def _as_array(instance: Instance, data: bytes, size: int) -> NDArray[Any]:
    if len(data) < size:
        raise _too_short(instance, size, len(data))
    order = "<" if UID(instance.transfer_syntax).is_little_endian else ">"
    kind = "i" if instance.signed else "u"
    values = np.frombuffer(data, f"{order}{kind}{instance.bits_allocated // 8}")
    values = values.reshape(instance.rows, instance.columns)
    unused = instance.bits_allocated - instance.bits_stored
    if unused > 0:  # the high bits may hold an overlay (PS3.5 section 8.1.1, retired)
        native: NDArray[Any] = values.astype(values.dtype.newbyteorder("="))
        values = (native << unused) >> unused
    return values


def _too_short(instance: Instance, expected: int, found: int) -> ReadError:
    return ReadError(
        f"expected {expected} bytes of pixels, found {found} in {instance.blob.label}: "
        "the file is cut short, copy it again"
    )


def _unsupported(instance: Instance, syntax: UID) -> UnsupportedEncodingError:
    name = syntax.name if syntax else "unknown"
    return UnsupportedEncodingError(
        f"expected pixels that an installed decoder reads, found transfer syntax {name} "
        f"({syntax or 'not stated'}) in {instance.blob.label}: export the images uncompressed"
    )


def _plugin(instance: Instance, syntax: UID) -> str:
    """The decoder to use: GDCM wherever it can."""
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        plugins = ()
    if syntax == JPEGExtended12Bit and instance.bits_stored != 8:
        plugins = ()
    for name in ("gdcm", "pydicom"):
        if name in plugins:
            return name
    raise _unsupported(instance, syntax)


def _decoded(
    instance: Instance, files: Files, wanted: Sequence[int], syntax: UID
) -> Iterator[NDArray[Any]]:
    if not syntax.is_transfer_syntax:
        raise _unsupported(instance, syntax)
    files.limits.hold("frame_pixels", instance.rows * instance.columns, instance.blob.label)
    plugin = ""  # a deflated file: the pixels are plain once it is inflated
    if syntax.is_encapsulated and syntax != RLELossless:
        plugin = _plugin(instance, syntax)
        if plugin == "gdcm":
            _hush_gdcm()
    dataset = _whole_dataset(instance, files)
    try:
        size, bits = (instance.rows, instance.columns), instance.bits_allocated
        codes: list[bytes] = []
        if syntax.is_encapsulated:
            codes = coded_frames(dataset.PixelData, syntax, instance.frames, wanted, size)
        if syntax == RLELossless:
            frames = [run_lengths(code, size, bits, signed=instance.signed) for code in codes]
        else:
            decoder = get_decoder(syntax)
            frames = [
                frame
                for frame, _ in decoder.iter_array(
                    dataset, indices=list(wanted), raw=True, decoding_plugin=plugin
                )
            ]
    except Exception as error:  # decoders raise what they like
        raise ReadError(
            f"expected intact {syntax.name} pixels, found data that cannot be decoded "
            f"in {instance.blob.label}: copy the file again"
        ) from error
    if any(frame.shape != (instance.rows, instance.columns) for frame in frames):
        raise ReadError(
            f"expected {instance.rows} x {instance.columns} pixels, found others "
            f"in {instance.blob.label}: copy the file again"
        )
    yield from frames


def _whole_dataset(instance: Instance, files: Files) -> Dataset:
    try:
        with files.open(instance.blob) as stream:
            dataset = parsed(stream, files.limits, pixels=True)
        if not dataset.PixelData:
            raise ValueError("no pixel data")
        return dataset
    except ReadError:
        raise
    except Exception as error:  # any broken structure
        raise ReadError(
            f"expected pixel data, found none that is whole in {instance.blob.label}: "
            "the file is cut short, copy it again"
        ) from error


def _hush_gdcm() -> None:
    """Errors of GDCM reach the user as ours, not as lines on stderr."""
    import gdcm

    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
