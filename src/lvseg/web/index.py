"""Index of folders: which studies lie in them, found once and again only when files change."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.errors import ReadError
from lvseg.read import StudyRef, find_studies
from lvseg.web.store import Found, Store, hashed


def index_folder(store: Store, folder: Path, limits: ReadingLimits = USUAL) -> int:
    """Store the studies of a folder; returns how many there are.

    An unchanged folder is not read again: names, sizes and times of its files tell. A folder in
    which nothing is found has none.

    :raises ReadError: no such folder, or it may not be read.
    """
    path = folder.resolve()
    if not path.is_dir():
        raise ReadError(f"expected a folder of studies, found none at {folder}: check the path")
    digest = _digest(path)
    if store.digest_of(str(path)) != digest:
        try:
            refs = find_studies(path, limits=limits)
        except ReadError:
            refs = ()
        store.keep_studies(str(path), digest, [_found(ref, path) for ref in refs])
    return sum(row["folder"] == str(path) for row in store.studies())


def read_ref(
    source: str, uid_sha256: str | None, name: str, limits: ReadingLimits = USUAL
) -> StudyRef:
    """The study that the index found, ready to be read.

    :raises ReadError: it is no longer there.
    """
    refs = find_studies(Path(source), limits=limits)
    for ref in refs:
        if uid_sha256 is not None and ref.study_uid is not None:
            if hashed(ref.study_uid) == uid_sha256:
                return ref
        elif ref.study_uid is None and (ref.name == name or len(refs) == 1):
            return ref
    raise ReadError("expected the study that was indexed, found others: restart the server")


def _found(ref: StudyRef, folder: Path) -> Found:
    paths = [frame.instance.blob.path for frame in ref.frames]
    if ref.blob is not None:
        pair = ref.pair
        paths = [ref.blob.path] if pair is None else [pair.ed.path, pair.es.path]
    together = Path(os.path.commonpath(paths)) if paths else folder
    return Found(str(together), ref.name, ref.format, ref.study_uid)


def _digest(folder: Path) -> str:
    """A digest of the names, sizes and times of all files."""
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            try:
                stat = path.stat()
            except OSError:  # it went away, or is a link to nothing
                continue
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
