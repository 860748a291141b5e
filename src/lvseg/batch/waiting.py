"""Studies that wait for their turn: their lists of images, small in memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from lvseg.read import StudyRef


@dataclass(frozen=True, slots=True)
class Waiting:
    """A study that was found and is not read yet.

    What is known of its images (2 kB each) is kept in the form in which it goes to a worker, and
    compressed to a twentieth of that. It never leaves this machine's memory but for a worker's.

    :param name: of the study; :param parts: of its path (:attr:`lvseg.read.StudyRef.parts`).
    """

    name: str
    parts: tuple[str, ...]
    _packed: bytes

    @classmethod
    def of(cls, ref: StudyRef) -> Self:
        """Put a study by."""
        content = bytes(ForkingPickler.dumps(ref))
        return cls(ref.name, ref.parts, zlib.compress(content, 1))

    def ref(self) -> StudyRef:
        """The study as it was found."""
        found: StudyRef = ForkingPickler.loads(zlib.decompress(self._packed))
        return found
