"""Identifiers of a patient in a header, and how they are struck out of what is shown and written.

Descriptions of series, folders and files often carry a name. The words of a header that identify
are looked for in them and are kept nowhere.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Elements whose every word identifies, and those whose whole value does.
NAMES = ("PatientName",)
NUMBERS = ("PatientID", "AccessionNumber", "PatientBirthDate", "InstitutionName")
#: What stands in place of an identifier.
STRUCK = "***"
#: Where a name was removed, its element says so, or names the kind of data.
_NO_NAMES = frozenset(
    """
    anon anonym anonymous anonymized anonymised cine data demo dicom heart mr mri name no none
    noname patient phantom removed sa sax study subject test unknown volunteer
    """.split()  # noqa: SIM905 - a table
)
#: Shorter identifiers are struck as whole words only: "Li" is a part of "slice".
_LONG = 4
_LETTERS = r"[^\W_]"


def identifiers(name: str, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """The words that identify a patient: those of the name, and whole numbers and dates.

    :param name: as DICOM has it (PS3.5 6.2.1); :param numbers: values of :data:`NUMBERS`.

    >>> identifiers("Doe^Jane^^Dr", ("P-17", "", "19500131"))
    ('19500131', 'Jane', 'P-17', 'Doe', 'Dr')
    """
    words = [word for word in re.split(r"[\W_]+", name) if len(word) > 1]
    whole = [number.strip() for number in numbers if len(number.strip()) > 1]
    kept = {word for word in (*words, *whole) if word.casefold() not in _NO_NAMES}
    return tuple(sorted(kept, key=lambda word: (-len(word), word)))


def without(text: str, words: tuple[str, ...]) -> str:
    """A text whose identifiers are struck out, in any case of letters.

    >>> without("DOE_cine_p-17", identifiers("Doe^Jane", ("P-17",)))
    '***_cine_***'
    """
    return _pattern(words).sub(STRUCK, text) if words and text else text


def names_patient(text: str, name: str) -> bool:
    """Whether a text holds a word of a patient's name.

    A name with a digit is a code that a study gave, and may name folders.

    >>> names_patient("doe_jane_2024", "Doe^Jane"), names_patient("SCD0000101", "SCD0000101")
    (True, False)
    """
    if not name or any(letter.isdigit() for letter in name):
        return False
    words = identifiers(name, ())
    return bool(words) and _pattern(words).search(text) is not None


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    parts = [
        re.escape(word) if len(word) >= _LONG else f"(?<!{_LETTERS}){re.escape(word)}(?!{_LETTERS})"
        for word in words
    ]
    return re.compile("|".join(parts), re.IGNORECASE)
