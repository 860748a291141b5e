"""`lvseg serve`: the studies of folders in the browser, segmented on request."""

from __future__ import annotations

import ipaddress
import os
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from lvseg.cli.app import command
from lvseg.cli.options import (
    Model,
    Runtime,
    RuntimeOption,
    SettingsFile,
    Threads,
    load_predictor,
    load_settings,
)
from lvseg.cli.output import Output
from lvseg.errors import MissingExtraError, ReadError, UsageError
from lvseg.failures import explain

if TYPE_CHECKING:
    from lvseg.bounds import ReadingLimits
    from lvseg.web.security import Access
    from lvseg.web.store import Store

#: Top-level modules of the extra ``web``.
_WEB = frozenset({"starlette", "uvicorn", "sqlalchemy", "anyio", "h11"})


@command("serve", example="lvseg serve studies/")
def serve(
    out: Output,
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Folders with studies.")
    ],
    model: Model = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="SQLite file; results lie beside it.  [default: in your data folder]",
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Another data base, e.g. postgresql://...")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    origin: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Address that people use, behind a proxy: https://desk.example"
        ),
    ] = None,
    user_header: Annotated[
        str, typer.Option(metavar="NAME", help="Header in which that proxy names who is logged in.")
    ] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Nothing may be changed.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
    runtime: RuntimeOption = Runtime.auto,
    settings: SettingsFile = None,
    threads: Threads = None,
) -> int:
    """Show the studies of folders in a browser and segment them on request.

    Prints the address to open, with a token that lets one in; only this machine can reach it.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ReadError(f"expected a folder of studies, found none at {folder}")
    try:
        import uvicorn

        from lvseg.web.app import make_app
        from lvseg.web.desk import Desk
        from lvseg.web.jobs import Worker
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _WEB:
            raise MissingExtraError("lvseg serve", "web") from error
        raise
    access = _access(host, port, origin, user_header, read_only=read_only)
    place = _place(store)
    data = _open_store(place, database)
    chosen = load_settings(settings)
    desk = Desk(
        data, place.with_suffix(".results"), lambda: load_predictor(model, runtime, threads), chosen
    )
    app = make_app(desk, Worker(data, desk.segment), access)
    address = f"{origin or f'http://{_shown(host)}:{port}'}/open?token={access.token}"
    out.result({"address": address}, address)
    indexing = threading.Thread(
        target=_index, args=(out, data, folders, chosen.reading), daemon=True
    )
    indexing.start()
    if open_page:
        import webbrowser

        webbrowser.open(address)
    # no access log: it would hold the token
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
    data.close()
    return 0


def _access(
    host: str, port: int, origin: str | None, user_header: str, *, read_only: bool
) -> Access:
    """Who may come in.

    :raises UsageError: a server that others can reach without a proxy that is named, or a header
        of a proxy without one.
    """
    from lvseg.web.security import Access

    if origin is None and not _is_loopback(host):
        raise UsageError(
            f"expected --origin beside --host {host}: put a proxy with TLS before the server, and "
            "name the address that people use"
        )
    if user_header and origin is None:
        raise UsageError("expected --origin beside --user-header: without a proxy anybody sets it")
    names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    origins = {f"http://{name}" for name in names}
    if origin is not None:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise UsageError(f"expected --origin like https://desk.example, found {origin}")
        names, origins = {parts.netloc}, {f"{parts.scheme}://{parts.netloc}"}
    return Access(frozenset(names), frozenset(origins), user_header, read_only)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _place(store: Path | None) -> Path:
    """The SQLite file: as given, else in the data folder of the user."""
    if store is not None:
        return store
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "lvseg" / "desk.db"


def _open_store(place: Path, database: str | None) -> Store:
    """The data base.

    :raises UsageError: it cannot be made or reached.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from lvseg.web.store import Store

    try:
        return Store.in_file(place) if database is None else Store(database)
    except (OSError, SQLAlchemyError, ImportError) as error:
        where = place if database is None else "the data base"
        raise UsageError(
            f"expected a data base that can be used, found {where}: {type(error).__name__}; choose "
            "another with --store or --database"
        ) from error


def _index(out: Output, data: Store, folders: list[Path], limits: ReadingLimits) -> None:
    from lvseg.web.index import index_folder

    for folder in folders:
        try:
            found = index_folder(data, folder, limits)
            out.note(f"{folder}: {found} studies")
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            out.failed_as(f"{folder}: {explain(error)[0]}", trace)
