"""Fingerprints of a study's files: one that is quick to take, one of every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from lvseg.read.sources import Blob, Files
from lvseg.read.studies import StudyRef

#: Bytes read at once.
_CHUNK = 1 << 20


def quick_fingerprint(ref: StudyRef) -> str:
    """SHA-256 over names, sizes and times of change of the files; no byte of them is read.

    The same files in another folder have the same.

    :raises OSError: a file is gone.
    """
    lines = []
    for role, blob in _blobs(ref):
        status = blob.path.stat()
        member = "/".join([*blob.within, blob.member])
        lines.append(f"{role} {blob.path.name}/{member} {status.st_size} {status.st_mtime_ns}")
    return _sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape"))


def byte_fingerprint(ref: StudyRef) -> str:
    """SHA-256 over the bytes of the files, whatever their names and order.

    :raises ReadError: a file cannot be read.
    """
    found = []
    with Files() as files:
        for role, blob in _blobs(ref):
            digest = hashlib.sha256()
            with files.open(blob) as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
            found.append(f"{role} {digest.hexdigest()}")
    return _sha256("\n".join(sorted(found)).encode())


def _blobs(ref: StudyRef) -> Iterator[tuple[str, Blob]]:
    """Every file of a study once, with its role in a pair; a NIfTI in two files gives both."""
    files: list[tuple[str, Blob | None]] = [("", ref.blob)]
    if ref.pair is not None:
        files = [("ED", ref.pair.ed), ("ES", ref.pair.es)]
    elif ref.blob is None:
        files = [("", blob) for blob in dict.fromkeys(f.instance.blob for f in ref.frames)]
    for role, blob in files:
        if blob is None:
            continue
        yield role, blob
        if blob.image and not blob.member:  # its bytes come with those of the header
            yield f"{role} image", Blob(blob.path.with_name(blob.image))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
