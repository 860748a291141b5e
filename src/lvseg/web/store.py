"""Store of the server: studies, jobs, versions and events in a relational data base.

SQLite needs no set-up and is used with a write-ahead log and full synchronisation, so that what was
answered survives a killed process; any other data base of SQLAlchemy works by its URL. Events are
only ever added. A version is the result of a study under a number that is given once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lvseg.errors import LvsegError

#: Bytes of randomness in the id of a study or a job; ids are never paths.
_ID_BYTES = 12
#: How long a writer waits for another one, ms.
_BUSY_MS = 10_000
#: States of a job.
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"

_META = sa.MetaData()
FOLDERS = sa.Table(
    "folder",
    _META,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("indexed_at", sa.String(32), nullable=False),
)
STUDIES = sa.Table(
    "study",
    _META,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("folder", sa.Text, nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("uid_sha256", sa.String(64)),
    sa.Column("found_at", sa.String(32), nullable=False),
    sa.Column("gone", sa.Boolean, nullable=False, default=False),
    sa.UniqueConstraint("folder", "source", "name"),
)
JOBS = sa.Table(
    "job",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("study", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("stage", sa.String(32), nullable=False, default=""),
    sa.Column("done", sa.Integer, nullable=False, default=0),
    sa.Column("total", sa.Integer, nullable=False, default=0),
    sa.Column("error", sa.Text),
    sa.Column("asked_at", sa.String(32), nullable=False),
    sa.Column("ended_at", sa.String(32)),
)
VERSIONS = sa.Table(
    "version",
    _META,
    sa.Column("study", sa.ForeignKey("study.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("parent", sa.Integer),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("note", sa.Text, nullable=False, default=""),
    sa.Column("measurements", sa.JSON, nullable=False),
)
EVENTS = sa.Table(
    "event",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study", sa.String(32), index=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
)


class ConflictError(LvsegError):
    """Somebody else saved a version on the same parent first."""


@dataclass(frozen=True, slots=True)
class Found:
    """A study that the index found.

    :param source: what it is read from: a folder or a file; :param study_uid: of a DICOM study.
    """

    source: str
    name: str
    format: str
    study_uid: str | None = None


class Store:
    """The data base; every method is one transaction and may be called from any thread.

    :param url: as SQLAlchemy has them, e.g. ``sqlite:///desk.db``.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        _META.create_all(self._engine)

    @classmethod
    def in_file(cls, path: Path) -> Store:
        """A SQLite data base, made where it is not there; only its owner may read it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        return cls(f"sqlite:///{path}")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    # The index

    def digest_of(self, folder: str) -> str | None:
        """What the folder looked like when it was indexed; None = never."""
        rows = self._rows(sa.select(FOLDERS).where(FOLDERS.c.path == folder))
        return rows[0]["digest"] if rows else None

    def keep_studies(self, folder: str, digest: str, found: list[Found]) -> None:
        """Store what a folder holds; ids of studies that were known stay, others are gone."""
        with self._write() as connection:
            known = {
                (row.source, row.name): row.id
                for row in connection.execute(sa.select(STUDIES).where(STUDIES.c.folder == folder))
            }
            connection.execute(STUDIES.update().where(STUDIES.c.folder == folder).values(gone=True))
            for each in found:
                if (each.source, each.name) in known:
                    where = STUDIES.c.id == known[each.source, each.name]
                    connection.execute(STUDIES.update().where(where).values(gone=False))
                    continue
                uid = each.study_uid
                connection.execute(
                    STUDIES.insert().values(
                        id=new_id(),
                        folder=folder,
                        source=each.source,
                        name=each.name,
                        format=each.format,
                        uid_sha256=None if uid is None else hashed(uid),
                        found_at=now(),
                        gone=False,
                    )
                )
            connection.execute(FOLDERS.delete().where(FOLDERS.c.path == folder))
            connection.execute(
                FOLDERS.insert().values(path=folder, digest=digest, indexed_at=now())
            )

    def studies(self) -> list[dict[str, Any]]:
        """Every study that is there, by name, with its newest version and its newest job."""
        newest = (
            sa.select(VERSIONS.c.study, sa.func.max(VERSIONS.c.number).label("number"))
            .group_by(VERSIONS.c.study)
            .subquery()
        )
        last = sa.select(JOBS.c.study, sa.func.max(JOBS.c.number).label("number"))
        last_job = last.group_by(JOBS.c.study).subquery()
        query = (
            sa.select(
                STUDIES,
                VERSIONS.c.number.label("version"),
                VERSIONS.c.who.label("version_who"),
                VERSIONS.c.measurements,
                JOBS.c.id.label("job"),
                JOBS.c.state.label("job_state"),
            )
            .outerjoin(newest, newest.c.study == STUDIES.c.id)
            .outerjoin(
                VERSIONS,
                sa.and_(VERSIONS.c.study == STUDIES.c.id, VERSIONS.c.number == newest.c.number),
            )
            .outerjoin(last_job, last_job.c.study == STUDIES.c.id)
            .outerjoin(JOBS, JOBS.c.number == last_job.c.number)
            .where(STUDIES.c.gone.is_(False))
            .order_by(STUDIES.c.name, STUDIES.c.id)
        )
        return self._rows(query)

    def study(self, study: str) -> dict[str, Any] | None:
        """One study; None where there is none, or it is gone."""
        where = sa.and_(STUDIES.c.id == study, STUDIES.c.gone.is_(False))
        rows = self._rows(sa.select(STUDIES).where(where))
        return rows[0] if rows else None

    # The queue

    def ask(self, study: str, who: str) -> dict[str, Any]:
        """Queue a job for a study; one that is queued or runs already is given back."""
        with self._write() as connection:
            waiting = sa.and_(JOBS.c.study == study, JOBS.c.state.in_((QUEUED, RUNNING)))
            found = connection.execute(sa.select(JOBS).where(waiting)).first()
            if found is not None:
                return dict(found._mapping)
            job = new_id()
            connection.execute(
                JOBS.insert().values(
                    id=job, study=study, who=who, state=QUEUED, stage="", done=0, total=0,
                    asked_at=now(),
                )
            )  # fmt: skip
            self._tell(connection, study, who, "asked", {"job": job})
            return dict(connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).one()._mapping)

    def job(self, job: str) -> dict[str, Any] | None:
        """One job; None where there is none."""
        rows = self._rows(sa.select(JOBS).where(JOBS.c.id == job))
        return rows[0] if rows else None

    def claim(self) -> dict[str, Any] | None:
        """The job that waits longest, now running; None where none waits."""
        with self._write() as connection:
            waiting = sa.select(JOBS).where(JOBS.c.state == QUEUED).order_by(JOBS.c.number)
            found = connection.execute(waiting.limit(1)).first()
            if found is None:
                return None
            where = sa.and_(JOBS.c.id == found.id, JOBS.c.state == QUEUED)
            taken = connection.execute(JOBS.update().where(where).values(state=RUNNING))
            return dict(found._mapping) | {"state": RUNNING} if taken.rowcount else None

    def report(self, job: str, stage: str, done: int, total: int) -> None:
        """Store how far a job is."""
        with self._write() as connection:
            values = {"stage": stage, "done": done, "total": total}
            connection.execute(JOBS.update().where(JOBS.c.id == job).values(values))

    def end(self, job: Mapping[str, Any], state: str, error: str | None = None) -> None:
        """Store how a job ended, and an event of it."""
        with self._write() as connection:
            values = {"state": state, "error": error, "ended_at": now()}
            where = sa.and_(JOBS.c.id == job["id"], JOBS.c.state == RUNNING)
            if not connection.execute(JOBS.update().where(where).values(values)).rowcount:
                return  # it was cancelled in its last moment
            payload = {"job": job["id"], "error": error}
            self._tell(connection, job["study"], job["who"], state, payload)

    def cancel(self, job: str, who: str) -> dict[str, Any] | None:
        """Cancel a job that waits or runs; the worker stops a running one at its next step."""
        with self._write() as connection:
            where = sa.and_(JOBS.c.id == job, JOBS.c.state.in_((QUEUED, RUNNING)))
            values = {"state": CANCELLED, "ended_at": now()}
            stopped = connection.execute(JOBS.update().where(where).values(values))
            found = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).first()
            if stopped.rowcount and found is not None:
                self._tell(connection, found.study, who, CANCELLED, {"job": job})
            return None if found is None else dict(found._mapping)

    def resume(self) -> int:
        """Queue again what ran when the last server ended; returns how many jobs."""
        with self._write() as connection:
            values = {"state": QUEUED, "stage": "", "done": 0, "total": 0}
            found = connection.execute(JOBS.update().where(JOBS.c.state == RUNNING).values(values))
            return int(found.rowcount)

    # Versions and events

    def save_version(
        self,
        study: str,
        measurements: Mapping[str, Any],
        *,
        who: str,
        parent: int | None,
        note: str = "",
    ) -> int:
        """Store a version under the next number.

        :param parent: the version that it was made from, which must be the newest; None: the
            model's own result, which has number 0 and is there once.
        :raises ConflictError: another version is the newest.
        """
        number = 0 if parent is None else parent + 1
        try:
            with self._write() as connection:
                last = sa.select(sa.func.max(VERSIONS.c.number)).where(VERSIONS.c.study == study)
                if connection.execute(last).scalar() != parent:
                    raise _conflict(study, number)
                connection.execute(
                    VERSIONS.insert().values(
                        study=study, number=number, parent=parent, who=who, at=now(), note=note,
                        measurements=dict(measurements),
                    )
                )  # fmt: skip
                self._tell(connection, study, who, "version", {"number": number, "note": note})
        except sa.exc.IntegrityError as error:  # another writer was faster by a moment
            raise _conflict(study, number) from error
        return number

    def versions(self, study: str) -> list[dict[str, Any]]:
        """The versions of a study, the first one first."""
        query = sa.select(VERSIONS).where(VERSIONS.c.study == study).order_by(VERSIONS.c.number)
        return self._rows(query)

    def tell(self, study: str | None, who: str, kind: str, payload: Mapping[str, Any]) -> None:
        """Add an event."""
        with self._write() as connection:
            self._tell(connection, study, who, kind, payload)

    def events(self, study: str | None = None, *, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest events, the oldest of them first; of one study or of all."""
        query = sa.select(EVENTS).order_by(EVENTS.c.number.desc()).limit(limit)
        if study is not None:
            query = query.where(EVENTS.c.study == study)
        return self._rows(query)[::-1]

    @staticmethod
    def _tell(
        connection: sa.Connection,
        study: str | None,
        who: str,
        kind: str,
        payload: Mapping[str, Any],
    ) -> None:
        connection.execute(
            EVENTS.insert().values(study=study, at=now(), who=who, kind=kind, payload=dict(payload))
        )


def new_id() -> str:
    """A random id that is safe in a URL."""
    return secrets.token_urlsafe(_ID_BYTES)


def now() -> str:
    """The time in UTC, as text that sorts."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def hashed(text: str) -> str:
    """The SHA-256 of a text: identifiers of patients and studies are stored as such only."""
    return hashlib.sha256(text.encode()).hexdigest()


def _conflict(study: str, number: int) -> ConflictError:
    return ConflictError(
        f"expected to save version {number} of study {study}, found another one saved before: look "
        "at it, and save again on top of it"
    )


def _prepare_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={_BUSY_MS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
