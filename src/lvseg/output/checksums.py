"""Checksums of a study folder: its manifest, and whether its files are still what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvseg.atomic import write_text
from lvseg.errors import AlteredResultError, ReadError
from lvseg.formats import MANIFEST, MEASUREMENTS
from lvseg.version import __version__

#: Version of the manifest; it changes when a name or a meaning does.
SCHEMA = 1
#: What file managers leave in every folder they show.
_OF_FILE_MANAGERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """What differs between a study folder and its manifest: names of files, sorted, with ``/``.

    :param files: how many the manifest names.
    """

    folder: Path
    files: int
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the folder holds what was written and nothing else."""
        return not (self.changed or self.missing or self.extra)

    def require_good(self) -> None:
        """Hold the folder to its manifest.

        :raises AlteredResultError: it differs; the text names the files.
        """
        if self.good:
            return
        kinds = {"changed": self.changed, "missing": self.missing, "extra": self.extra}
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise AlteredResultError(
            f"expected the {self.files} files of {self.folder / MANIFEST} as they were written, "
            f"found {found}; take them from a copy, or segment the study again with --overwrite"
        )


def write_manifest(folder: Path) -> Path:
    """Write ``manifest.json``: size and SHA-256 of every file in a study folder.

    ``result_sha256`` is that of the whole result without the seconds it took: two runs whose
    results are the same have the same. The files of it are in the order of their names.
    """
    files = {_name(path, folder): path for path in _files(folder)}
    listed, whole = {}, hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        listed[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        lasting = _without_seconds(content) if name == MEASUREMENTS else content
        whole.update(f"{hashlib.sha256(lasting).hexdigest()}  {name}\n".encode())
    document = {
        "schema": SCHEMA,
        "lvseg": __version__,
        "result_sha256": whole.hexdigest(),
        "files": listed,
    }
    return write_text(folder / MANIFEST, json.dumps(document, indent=1) + "\n")


def study_folders(root: Path) -> tuple[Path, ...]:
    """The study folders in an output folder, sorted, or the folder itself if it is one.

    Hidden ones, which are not finished, do not count.

    :raises ReadError: there is none.
    """
    if root.is_dir():
        if _is_result(root):
            return (root,)
        children = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        found = tuple(path for path in children if path.is_dir() and _is_result(path))
        if found:
            return found
    raise ReadError(
        f"expected a folder that  lvseg segment  wrote, found no {MEASUREMENTS} and no {MANIFEST} "
        f"in {root}: name the folder given with -o, or one study of it"
    )


def check_manifest(folder: Path) -> FolderCheck:
    """Compare a study folder with its manifest.

    :raises AlteredResultError: the manifest is absent or cannot be understood.
    :raises OSError: a file cannot be read.
    """
    expected = _read_manifest(folder)
    there = {_name(path, folder): path for path in _files(folder)} if folder.is_dir() else {}
    changed = [
        name for name, path in there.items() if name in expected and _sha256(path) != expected[name]
    ]
    return FolderCheck(
        folder,
        len(expected),
        tuple(sorted(changed)),
        tuple(sorted(expected.keys() - there.keys())),
        tuple(sorted(there.keys() - expected.keys())),
    )


def _read_manifest(folder: Path) -> dict[str, str]:
    """Name -> SHA-256."""
    path = folder / MANIFEST
    advice = "segment the study again with --overwrite"
    if not path.is_file():
        raise AlteredResultError(
            f"expected {MANIFEST} in {folder}, found none (versions before it wrote none): {advice}"
        )
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        return {str(name): str(facts["sha256"]) for name, facts in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AlteredResultError(
            f"expected names and SHA-256 in {path}, found something else: {advice}"
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder but the manifest; a link is a file and is not followed."""
    for path in folder.rglob("*"):
        other = path == folder / MANIFEST or path.name in _OF_FILE_MANAGERS
        if not other and (path.is_symlink() or not path.is_dir()):
            yield path


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_result(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MEASUREMENTS, MANIFEST))


def _sha256(path: Path) -> str:
    """SHA-256 of a regular file; of anything else, which was not written by us, an empty text."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_seconds(content: bytes) -> bytes:
    document: dict[str, Any] = json.loads(content)
    document.pop("seconds", None)
    return json.dumps(document, sort_keys=True).encode()
