"""Routes of the server: the API of the reader's desk as JSON, and its page.

Ids are random, file names are ours, and no answer holds a path, a UID or a name of a patient; the
name of a study is that of its folder. Docstrings of the routes say what they take and give.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from lvseg.web.desk import Desk
from lvseg.web.jobs import Worker
from lvseg.web.security import Access

#: Studies of one answer.
PAGE = 50
_STATIC = {"app.js": "text/javascript", "style.css": "text/css"}
#: The report has its script inside and must not reach us: it is shown in a sandbox of its own, and
#: its own policy allows that script by its hash alone.
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Keys of measurements.json that the list shows.
_SHOWN = ("edv_ml", "esv_ml", "ef_percent", "mass_g", "reader")


def make_app(desk: Desk, worker: Worker, access: Access) -> Starlette:
    """The application; the worker runs as long as it does."""
    routes = _Routes(desk, worker, access)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(worker.stop, 5.0)

    async def failed(request: Request, error: Exception) -> Response:
        known = isinstance(error, HTTPException)
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = str(getattr(error, "detail", "")) if known else "internal error"
        return JSONResponse({"error": text}, status)

    study = "/api/studies/{study}"
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/static/{name}", routes.static),
            Route("/favicon.ico", routes.no_icon),
            Route("/api/studies", routes.studies),
            Route(study, routes.study),
            Route(f"{study}/segment", routes.segment, methods=["POST"]),
            Route(f"{study}/versions/{{number:int}}/files/{{name}}", routes.file),
            Route("/api/jobs/{job}", routes.job),
            Route("/api/jobs/{job}/cancel", routes.cancel, methods=["POST"]),
            Route("/api/audit", routes.audit),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=access.guard)],
        exception_handlers={HTTPException: failed, Exception: failed},
        lifespan=running,
    )


class _Routes:
    """One method a route; they run in threads, for the data base waits."""

    def __init__(self, desk: Desk, worker: Worker, access: Access) -> None:
        self._desk, self._store = desk, desk.store
        self._worker, self._access = worker, access

    def page(self, request: Request) -> Response:
        """The page."""
        return Response(_resource("index.html"), media_type="text/html")

    def static(self, request: Request) -> Response:
        """Script and style of the page."""
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404, "no such file")
        return Response(_resource(name), media_type=_STATIC[name])

    def no_icon(self, request: Request) -> Response:
        """Browsers ask for it unasked."""
        return Response(status_code=204)

    def studies(self, request: Request) -> Response:
        """``{"studies": [...], "next": id or null}``: 50 a page, by name.

        ``query``: a part of the name; ``after``: the last id of the page before.
        """
        query = request.query_params.get("query", "").casefold()
        rows = [row for row in self._store.studies() if query in row["name"].casefold()]
        after = request.query_params.get("after")
        if after is not None:
            ids = [row["id"] for row in rows]
            if after not in ids:
                raise HTTPException(404, "no such study")
            rows = rows[ids.index(after) + 1 :]
        shown = [_row(row) for row in rows[:PAGE]]
        rest = len(rows) > PAGE
        return JSONResponse({"studies": shown, "next": shown[-1]["id"] if rest else None})

    def study(self, request: Request) -> Response:
        """One study with its versions and their measurements."""
        study = self._known(request)
        versions = [
            {key: each[key] for key in ("number", "parent", "who", "at", "note", "measurements")}
            for each in self._store.versions(study["id"])
        ]
        shown = {key: study[key] for key in ("id", "name", "format", "found_at")}
        for each in versions:
            each["measurements"] = _without_place(each["measurements"])
        return JSONResponse(shown | {"versions": versions})

    def segment(self, request: Request) -> Response:
        """Queue the model for a study: 202 and the job; 409 where its result is there."""
        study = self._known(request)
        if self._store.versions(study["id"]):
            raise HTTPException(409, "the study has the model's result already")
        job = self._store.ask(study["id"], self._access.who(request))
        self._worker.wake()
        return JSONResponse(_job(job), 202)

    def job(self, request: Request) -> Response:
        """How far a job is."""
        job = self._store.job(request.path_params["job"])
        if job is None:
            raise HTTPException(404, "no such job")
        return JSONResponse(_job(job))

    def cancel(self, request: Request) -> Response:
        """Cancel a job; one that ended stays as it is."""
        job = self._store.cancel(request.path_params["job"], self._access.who(request))
        if job is None:
            raise HTTPException(404, "no such job")
        return JSONResponse(_job(job))

    def file(self, request: Request) -> Response:
        """A file of a version, under the name that lvseg gives it."""
        study, name = self._known(request), request.path_params["name"]
        path = self._desk.file(study["id"], request.path_params["number"], name)
        if path is None:
            raise HTTPException(404, "no such file")
        if name == "report.html":
            headers = {"Content-Security-Policy": _REPORT_POLICY}
            return FileResponse(path, media_type="text/html", headers=headers)
        return FileResponse(path, filename=name, media_type="application/octet-stream")

    def audit(self, request: Request) -> Response:
        """``{"events": [...]}``: who did what and when; ``study`` names one."""
        events = self._store.events(request.query_params.get("study"))
        return JSONResponse({"events": events})

    def _known(self, request: Request) -> dict[str, Any]:
        study = self._store.study(request.path_params["study"])
        if study is None:
            raise HTTPException(404, "no such study")
        return study


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A study as the list shows it."""
    values = row["measurements"] or {}
    return {
        **{key: row[key] for key in ("id", "name", "format", "version", "job", "job_state")},
        "verdict": (values.get("quality") or {}).get("verdict"),
        **{key: values.get(key) for key in _SHOWN},
    }


def _job(job: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "study", "state", "stage", "done", "total", "error", "asked_at", "ended_at")
    return {key: job[key] for key in keys}


def _without_place(measurements: Mapping[str, Any]) -> dict[str, Any]:
    """Measurements without the path of the source, which is nobody's business in a browser."""
    shown = dict(measurements)
    shown["study"] = {k: v for k, v in (shown.get("study") or {}).items() if k != "source"}
    shown.pop("settings", None)  # they may name files too
    return shown


def _resource(name: str) -> str:
    return resources.files("lvseg.web").joinpath("static", name).read_text("utf-8")
