"""The server: what it answers, to whom, and that the numbers are those of the command line."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended
from starlette.testclient import TestClient

import lvseg
from lvseg.web.app import make_app
from lvseg.web.desk import Desk
from lvseg.web.index import index_folder
from lvseg.web.jobs import Worker
from lvseg.web.security import COOKIE, Access
from lvseg.web.store import Store

HOST = "127.0.0.1:8765"
OWN = {"X-Lvseg": "1"}


@pytest.fixture
def access() -> Access:
    return Access(frozenset({HOST}), frozenset({f"http://{HOST}"}))


@pytest.fixture
def desk(tmp_path: Path, phantom_dicom: Path, tiny_model: Path) -> Iterator[Desk]:
    folder = tmp_path / "in"
    shutil.copytree(phantom_dicom, folder / "heart")
    (folder / "notes.txt").write_text("no image", "utf-8")
    store = Store.in_file(tmp_path / "desk.db")
    assert index_folder(store, folder) == 1
    yield Desk(store, tmp_path / "results", lambda: lvseg.load_model(tiny_model))
    store.close()


@pytest.fixture
def client(desk: Desk, access: Access) -> Iterator[TestClient]:
    app = make_app(desk, Worker(desk.store, desk.segment), access)
    with TestClient(app, base_url=f"http://{HOST}") as found:
        yield found


def let_in(client: TestClient, access: Access) -> None:
    answer = client.get(f"/open?token={access.token}", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def until_ended(client: TestClient, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = client.get(f"/api/jobs/{job}").json()
        if found["ended_at"]:
            return found
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def test_a_study_is_found_segmented_and_its_files_are_there(
    client: TestClient,
    desk: Desk,
    access: Access,
    phantom_dicom: Path,
    tiny_model: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
) -> None:
    let_in(client, access)
    listed = client.get("/api/studies").json()
    (study,) = listed["studies"]
    assert listed["next"] is None
    assert study["name"] in ("heart", "in")
    assert (study["version"], study["ef_percent"]) == (None, None)
    answer = client.post(f"/api/studies/{study['id']}/segment", headers=OWN)
    assert answer.status_code == 202
    job = until_ended(client, answer.json()["id"])
    assert (job["state"], job["error"]) == ("done", None)

    call = ("segment", phantom_dicom, "-o", tmp_path / "out", "--model", tiny_model, "--json")
    expected = lvseg_command(*call).document["studies"][0]["measurements"]
    (study,) = client.get("/api/studies").json()["studies"]
    assert (study["version"], study["job_state"]) == (0, "done")
    for key in ("edv_ml", "esv_ml", "ef_percent"):
        assert study[key] == expected[key]
    assert study["verdict"] == expected["quality"]["verdict"]
    whole = client.get(f"/api/studies/{study['id']}").json()
    (version,) = whole["versions"]
    assert (version["number"], version["parent"], version["who"]) == (0, None, "tiny")
    assert version["measurements"]["area_px"] == expected["area_px"]
    assert str(tmp_path) not in json.dumps(whole)

    files = f"/api/studies/{study['id']}/versions/0/files"
    assert client.get(f"{files}/segmentation.dcm").content[128:132] == b"DICM"
    page = client.get(f"{files}/report.html")
    assert "<h1>" in page.text
    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src")
    for name in ("notes.txt", "..%2f..%2fdesk.db", "overlays"):
        assert client.get(f"{files}/{name}").status_code == 404
    other = files.replace("versions/0", "versions/1")
    assert client.get(f"{other}/report.html").status_code == 404
    again = client.post(f"/api/studies/{study['id']}/segment", headers=OWN)
    assert again.status_code == 409  # the model's own result stays as it is
    kinds = [event["kind"] for event in client.get("/api/audit").json()["events"]]
    assert kinds == ["asked", "version", "done"]
    assert {e["who"] for e in client.get("/api/audit").json()["events"]} == {"local", "tiny"}


def test_a_study_that_is_no_cine_fails_with_its_reason(
    client: TestClient, desk: Desk, access: Access, tmp_path: Path
) -> None:
    let_in(client, access)
    (study,) = client.get("/api/studies").json()["studies"]
    shutil.rmtree(tmp_path / "in" / "heart")
    job = client.post(f"/api/studies/{study['id']}/segment", headers=OWN).json()
    found = until_ended(client, job["id"])
    assert found["state"] == "failed"
    assert found["error"].startswith("expected")


def test_an_index_is_made_again_only_when_files_change(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lvseg.web import index

    calls = []
    whole = index.find_studies
    monkeypatch.setattr(
        index, "find_studies", lambda path, **how: calls.append(path) or whole(path, **how)
    )
    folder = tmp_path / "in"
    before = desk.store.studies()
    assert index_folder(desk.store, folder) == 1
    assert calls == []
    (folder / "more.txt").write_text("x", "utf-8")
    assert index_folder(desk.store, folder) == 1
    assert len(calls) == 1
    assert desk.store.studies() == before
    shutil.rmtree(folder / "heart")
    assert index_folder(desk.store, folder) == 0


def test_pages_of_fifty(desk: Desk, client: TestClient, access: Access) -> None:
    from lvseg.web.store import Found

    found = [Found(f"/many/{n:03d}", f"study {n:03d}", "nifti") for n in range(120)]
    desk.store.keep_studies("/many", "x", found)
    let_in(client, access)
    names, after = [], None
    while True:
        words = {"query": "STUDY"} | ({"after": after} if after else {})
        listed = client.get("/api/studies", params=words).json()
        names += [each["name"] for each in listed["studies"]]
        after = listed["next"]
        if after is None:
            break
    assert names == [each.name for each in found]
    assert client.get("/api/studies", params={"after": "none"}).status_code == 404


def test_nothing_is_answered_without_the_token(client: TestClient) -> None:
    for path in ("/", "/api/studies", "/api/audit", "/static/app.js", "/api/none"):
        assert client.get(path).status_code == 401
    assert client.get("/open?token=wrong").status_code == 401
    assert client.get("/open").status_code == 401
    client.cookies.set(COOKIE, "wrong")
    assert client.get("/").status_code == 401


def test_foreign_pages_and_names_are_refused(
    client: TestClient, access: Access, desk: Desk
) -> None:
    let_in(client, access)
    (study,) = client.get("/api/studies").json()["studies"]
    path = f"/api/studies/{study['id']}/segment"
    assert client.get("/api/studies", headers={"Host": "evil.test:8765"}).status_code == 421
    for origin in ("http://127.0.0.1:9999", "null", "http://evil.test"):
        assert client.post(path, headers=OWN | {"Origin": origin}).status_code == 403
        assert client.get("/api/studies", headers={"Origin": origin}).status_code == 403
    assert client.post(path).status_code == 403  # a form of a foreign page cannot add the header
    assert client.post(path, headers=OWN, content=b"x" * 2_000_000).status_code == 413
    assert desk.store.events() == []
    assert client.post(path, headers=OWN | {"Origin": f"http://{HOST}"}).status_code == 202


def test_every_answer_tells_the_browser_what_it_may_do(client: TestClient, access: Access) -> None:
    answers = [client.get("/api/studies")]
    let_in(client, access)
    answers += [client.get(path) for path in ("/", "/static/app.js", "/api/studies", "/none")]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_a_server_that_is_read_only_changes_nothing(desk: Desk) -> None:
    access = Access(frozenset({HOST}), frozenset(), read_only=True)
    app = make_app(desk, Worker(desk.store, desk.segment), access)
    with TestClient(app, base_url=f"http://{HOST}") as client:
        let_in(client, access)
        (study,) = client.get("/api/studies").json()["studies"]
        answer = client.post(f"/api/studies/{study['id']}/segment", headers=OWN)
        assert answer.status_code == 403
        assert desk.store.events() == []


def test_a_proxy_names_who_asks(desk: Desk) -> None:
    access = Access(frozenset({HOST}), frozenset(), user_header="X-Remote-User")
    app = make_app(desk, Worker(desk.store, desk.segment), access)
    with TestClient(app, base_url=f"http://{HOST}") as client:
        let_in(client, access)
        assert client.get("/api/studies").status_code == 401
        named = {"X-Remote-User": "ray"}
        (study,) = client.get("/api/studies", headers=named).json()["studies"]
        client.post(f"/api/studies/{study['id']}/segment", headers=OWN | named)
        events = client.get("/api/audit", headers=named).json()["events"]
        assert events[0]["who"] == "ray"
