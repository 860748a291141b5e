"""Bounds of what is read: every size or length is held to a named limit before memory is taken.

A number in a file is what somebody wrote there. It is compared with :class:`ReadingLimits` first,
and only regular files are opened: a pipe may wait for ever, a device never ends.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvseg.errors import LimitError, UsageError

#: What is counted by a limit, and what can be done besides raising it.
_WORDS = MappingProxyType(
    {
        "file_bytes": ("bytes in a file", "give the images that are needed"),
        "unpacked_bytes": ("bytes when unpacked", "unpack it first"),
        "unpacked_ratio": ("times the packed bytes when unpacked", "unpack it first"),
        "files": ("files in a source", "give one study"),
        "nested_archives": ("archives in one another", "unpack it first"),
        "header_bytes": ("bytes in a DICOM header", "export the images again"),
        "sequence_depth": ("DICOM sequences in one another", "export the images again"),
        "frames": ("frames", "give fewer phases"),
        "frame_pixels": ("pixels in a frame", "crop or shrink it"),
        "network_pixels": (
            "pixels in a frame at the spacing of the model",
            "crop or shrink it, or state the spacing of a picture with --spacing",
        ),
        "pixels": ("pixels in a cine", "give fewer phases or smaller frames"),
    }
)


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """How much is read of a source, at most. What exceeds a limit is refused by its name."""

    file_bytes: int = 512 * 2**20
    """Bytes of a file, or of a member of an archive, that is held in memory as a whole: NIfTI,
    pictures, compressed DICOM. A cine of 100 million pixels as 32-bit numbers has 400 MB."""

    unpacked_bytes: int = 4 * 2**30
    """Bytes of all that is unpacked to be looked into again: archives in archives, and packed tar.
    It lies in a temporary file, not in memory."""

    unpacked_ratio: float = 200.0
    """Unpacked over packed bytes, from 64 MiB on: images pack to a half or a third, and a drawn
    phantom on black to a fiftieth."""

    files: int = 200_000
    """Files of a source, members of archives included. The export of a year has fewer."""

    nested_archives: int = 3
    """Archives in archives: portals and archives make two."""

    header_bytes: int = 16 * 2**20
    """Bytes of a DICOM header that are looked through; the largest ones describe hundreds of
    frames with some kilobytes each."""

    sequence_depth: int = 32
    """DICOM sequences in one another; the standard's own objects have fewer than ten."""

    frames: int = 4000
    """Frames of a cine, phases times slices: 20 slices of 200 phases."""

    frame_pixels: int = 4096 * 4096
    """Rows times columns of a frame as it is stored."""

    network_pixels: int = 1024 * 1024
    """Rows times columns of a frame once it has the spacing that the model knows: a first look
    takes the whole frame, with 600 bytes a pixel."""

    pixels: int = 100_000_000
    """Pixels of a cine: 12 slices and 30 phases of 512 x 512. One needs about 8 bytes."""

    def hold(self, name: str, found: float, where: object) -> None:
        """Refuse what exceeds a limit.

        :param name: of the limit; :param found: what a file states or has; :param where: its place.
        :raises LimitError: it does; the message names the limit and the setting that raises it.
        """
        limit = getattr(self, name)
        if found <= limit:
            return
        what, advice = _WORDS[name]
        raise LimitError(
            f"expected at most {_shown(limit)} {what}, found {_shown(found)} in {where}: {advice}, "
            f"or raise {name} under [reading] in --settings"
        )


def _shown(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


#: No file of ours, or of options, is larger.
MOST_JSON_BYTES, MOST_TOML_BYTES = 64 * 2**20, 2**20


#: The limits where no others are given.
USUAL = ReadingLimits()
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; links to one are followed.

    :raises OSError: it cannot be opened, or is a folder, a pipe, a socket or a device, which is
        found out before it is opened and once more after.
    """
    _refuse_others(os.stat(path).st_mode, path)  # noqa: PTH116 - a path may be text
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _refuse_others(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _refuse_others(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        found = next((name for test, name in _KINDS if test(mode)), "something else")
        raise OSError(errno.EINVAL, f"{found}, not a file", str(path))


def read_bytes(path: Path, most: int) -> bytes:
    """All bytes of a regular file that has no more than so many.

    :raises OSError: it cannot be opened (:func:`open_regular`), or is larger.
    """
    with open_regular(path) as stream:
        content = stream.read(min(most, os.fstat(stream.fileno()).st_size) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return content


def read_json_object(path: Path, most: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    :raises OSError: as :func:`read_bytes`. ValueError: no JSON, or something else than an object;
        the text says what was found.
    """
    try:
        found = json.loads(read_bytes(path, most))
    except RecursionError:
        raise ValueError("lists nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("bytes that are no text") from None
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object but {type(found).__name__}")
    return found


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table of a TOML file in UTF-8.

    :param what: it is, for the message.
    :raises UsageError: it cannot be read, is in another encoding, or is no TOML.
    """
    try:
        return tomllib.loads(read_bytes(path, MOST_TOML_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"expected {what} that can be read, found {error.strerror} at {path}: check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"expected {what} as TOML in UTF-8, found another encoding at {path}: save it as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"expected {what} as TOML, found a fault at {path}: {error}: correct the file"
        ) from error
