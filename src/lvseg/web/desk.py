"""Desk: a store, a folder of results and a model, and what the server does with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lvseg.formats import FORMATS, MEASUREMENTS
from lvseg.output import write_study
from lvseg.pipeline import run
from lvseg.predict import Predictor
from lvseg.settings import Settings
from lvseg.web.index import read_ref
from lvseg.web.jobs import Progress
from lvseg.web.store import Store

#: Files of a version that may be asked for; no folder and no name of a user is among them.
FILES = frozenset({MEASUREMENTS}) | {
    file for each in FORMATS for file in each.files if "." in file and "*" not in file
}


@dataclass(frozen=True)
class Desk:
    """What the routes share.

    :param results: gets a folder for each version, ``<study>/<number>``.
    :param load: loads the model, once, when it is first needed.
    """

    store: Store
    results: Path
    load: Callable[[], Predictor]
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def predictor(self) -> Predictor:
        """The model."""
        return self.load()

    def segment(self, study: Mapping[str, Any], progress: Progress) -> None:
        """Make version 0 of a study, the model's own result: files first, then its entry.

        :raises LvsegError: it cannot be read, or does not fit the model.
        """
        limits = self.settings.reading
        ref = read_ref(study["source"], study["uid_sha256"], study["name"], limits)
        result = run(ref, self.predictor, self.settings, progress=progress)
        progress("write", 0, 0)
        # a server that was killed may have left the files without their entry
        document = write_study(result, self.folder(study["id"], 0), None, ref, overwrite=True)
        who = self.predictor.card.name
        self.store.save_version(study["id"], document, who=who, parent=None)

    def folder(self, study: str, number: int) -> Path:
        """Where the files of a version are."""
        return self.results / study / str(number)

    def file(self, study: str, number: int, name: str) -> Path | None:
        """One file of a version; None where there is none of that name."""
        known = any(each["number"] == number for each in self.store.versions(study))
        if name not in FILES or not known:
            return None
        path = self.folder(study, number) / name
        return path if path.is_file() else None
