"""Names of studies and files: readable, safe on every file system, and distinct.

A path is bytes. What is no UTF-8 (a disc of an old system) is read as Western European text, so
that a name can be printed and written; the file itself is still opened by its bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

#: Longest name in characters, and in bytes of UTF-8: file systems stop at 255 bytes, and a number,
#: an ending and the marks of a file that is still being written must fit too.
LONGEST_NAME, LONGEST_NAME_BYTES = 100, 200
#: Names that Windows keeps for devices.
RESERVED = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{device}{i}" for device in ("com", "lpt") for i in range(10)}
)
#: Words of a name that say which of the two phases a file holds.
PHASES = ("ED", "ES")
#: Bytes that were no UTF-8, as Python holds them in a path (PEP 383).
_ESCAPED = re.compile("[\udc80-\udcff]+")
#: What a terminal or a page may take as a command instead of a letter: control characters but
#: tab and line end, separators of lines, and those that turn the direction of writing.
_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)


def readable(text: str) -> str:
    r"""Text that can be written anywhere: bytes of a path that are no UTF-8 become Windows-1252.

    >>> readable("Coeur_\udce9")
    'Coeur_é'
    """
    return _ESCAPED.sub(
        lambda found: found[0].encode("utf-8", "surrogateescape").decode("cp1252", "replace"), text
    )


def printable(text: str) -> str:
    r"""Text of others for people: what a terminal would obey is shown as U+FFFD.

    >>> printable("\x1b[31mred\n")
    '�[31mred\n'
    """
    return _COMMANDS.sub("\ufffd", readable(text))


def one_line(text: object) -> str:
    """Put a text on one line: every run of white space becomes one blank."""
    return printable(" ".join(str(text).split()))


def safe_name(name: str) -> str:
    """Make a name that every file system takes as one path component.

    Letters, marks and digits of any script, ``.``, ``_`` and ``-`` stay; every run of anything else
    becomes ``_``. Dots and ``_`` at either end go, so a name is never hidden, ``.`` or ``..``. A
    name of which nothing is left becomes ``study``.

    >>> safe_name("../My study: 1")
    'My_study_1'
    """
    composed = unicodedata.normalize("NFC", readable(name))
    kept = "".join(each if _is_kept(each) else " " for each in composed)
    text = re.sub(r"\s+", "_", kept).strip("._")[:LONGEST_NAME]
    text = text.encode("utf-8", "replace")[:LONGEST_NAME_BYTES].decode("utf-8", "ignore")
    text = text.strip("._")
    if text.strip("-") == "":
        return "study"
    return f"{text}_" if text.split(".")[0].casefold() in RESERVED else text


def _is_kept(character: str) -> bool:
    return character in "._-" or unicodedata.category(character)[0] in "LMN"


def split_phase(name: str) -> tuple[str | None, str]:
    """The phase that a word of a name states, and the name without it; None = no phase.

    >>> split_phase("ED_lv"), split_phase("p05-es-x"), split_phase("MERGED")
    (('ED', 'lv'), ('ES', 'p05_x'), (None, 'MERGED'))
    """
    words = re.split(r"[_\-. ]", name)
    phase = next((word.upper() for word in words if word.upper() in PHASES), None)
    if phase is None:
        return None, name
    return phase, "_".join(word for word in words if word.upper() != phase)


def unique(name: str, taken: set[str]) -> str:
    """Return the name, or the name with -2, -3, ... if it is taken in any letter case; takes it.

    >>> taken = {"a"}
    >>> unique("A", taken), unique("a", taken)
    ('A-2', 'a-3')
    """
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate.casefold())
    return candidate


def told_apart(paths: Sequence[Sequence[str]]) -> list[str]:
    """A safe name for each path: its last part, and as many above it as tell it from the others.

    What no part tells apart, as a path given twice or bytes that read alike, gets a number.

    :param paths: the parts of each, outermost first; one part at least.

    >>> told_apart([("a", "p1", "ED"), ("a", "p2", "ED"), ("a", "x"), ("a", "x")])
    ['p1-ED', 'p2-ED', 'x', 'x-2']
    """
    depths = [1] * len(paths)
    read = [tuple(safe_name(part).casefold() for part in path) for path in paths]
    while True:
        names = [
            safe_name("-".join(path[-depth:])) for path, depth in zip(paths, depths, strict=True)
        ]
        groups = defaultdict[str, list[int]](list)
        for index, name in enumerate(names):
            groups[name.casefold()].append(index)
        longer = [
            index
            for group in groups.values()
            if len({read[index] for index in group}) > 1
            for index in group
            if depths[index] < len(paths[index])
        ]
        if not longer:
            taken: set[str] = set()
            return [unique(name, taken) for name in names]
        for index in longer:
            depths[index] += 1
