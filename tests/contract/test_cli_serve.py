"""`lvseg serve` as a process: it prints one address, works after a kill, and refuses wrong use."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from command_line import Ended

OWN = {"X-Lvseg": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client, str]]:
    """A running server, a client that was let in, and the address it printed."""
    port = free_port()
    call = [sys.executable, "-m", "lvseg.cli", "serve", *map(str, arguments)]
    server = subprocess.Popen(
        [*call, "--port", str(port), "--json", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, server.stderr and server.stderr.read()
        address = json.loads(line)["address"]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            answer = until(lambda: attempt(client, address))
            assert answer.status_code == 303
            yield server, client, address
    finally:
        server.kill()
        server.communicate()


def attempt(client: httpx2.Client, address: str) -> httpx2.Response | None:
    try:
        return client.get(address)
    except httpx2.TransportError:
        return None


def until(look: Callable[[], Any], seconds: float = 300) -> Any:
    """What is found as soon as there is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came")


def studies(client: httpx2.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/studies").json()["studies"]
    return found


def test_a_killed_server_goes_on_where_it_was(
    phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    for name in ("a", "b"):
        shutil.copytree(phantom_dicom, folder / name / "heart")
    arguments = (folder / "a", folder / "b", "--model", tiny_model, "--store", tmp_path / "desk.db")
    with serving(*arguments) as (server, client, _):
        found = until(lambda: len(studies(client)) == 2 and studies(client))
        jobs = [
            client.post(f"/api/studies/{each['id']}/segment", headers=OWN).json() for each in found
        ]
        server.send_signal(signal.SIGKILL)
        server.wait()
    with serving(*arguments) as (_, client, _):
        for job in jobs:
            until(lambda job=job: client.get(f"/api/jobs/{job['id']}").json()["state"] == "done")
        after = studies(client)
        assert {each["id"] for each in after} == {each["id"] for each in found}
        assert [each["version"] for each in after] == [0, 0]


def test_it_listens_here_alone_and_ends_quietly(
    phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "desk.db"
    with serving(phantom_dicom, "--model", tiny_model, "--store", store) as (
        server,
        client,
        address,
    ):
        assert address.startswith("http://127.0.0.1:")
        assert client.get("/").status_code == 200
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
        assert server.returncode in (0, 130)
        assert "token" not in err
        assert "Traceback" not in err
        assert out == ""


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--host", "0.0.0.0"), 2, "--origin"),
        (("--user-header", "X-User"), 2, "--origin"),
        (("--origin", "desk.example"), 2, "--origin"),
        (("--database", "nonsense"), 2, "data base"),
    ],
)
def test_wrong_use_is_refused(
    phantom_dicom: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
    options: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    ended = lvseg_command("serve", phantom_dicom, "--store", tmp_path / "desk.db", *options)
    assert (ended.status, ended.err.count("\n")) == (status, 1)
    assert words in ended.err


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command("serve", tmp_path / "none")
    assert ended.status == 3
    assert "none" in ended.err


def test_without_the_extra_it_says_what_to_install(
    phantom_dicom: Path, lvseg_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ended = lvseg_command("serve", phantom_dicom)
    assert ended.status == 2
    assert "lvseg[web]" in ended.err
