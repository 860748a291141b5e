"""The page of the server in a real browser: a study is segmented by keyboard, nobody is asked."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from lvseg.cine import Cine
from lvseg.output import write_study
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.pipeline import assess
from lvseg.web.app import make_app
from lvseg.web.desk import Desk
from lvseg.web.index import index_folder
from lvseg.web.jobs import Progress, Worker
from lvseg.web.security import Access
from lvseg.web.store import Store

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SMALL = PhantomOptions(phases=3, slices=5, rows=80, columns=72, pixel_spacing_mm=(2.6, 2.3))


@pytest.fixture(scope="module")
def browser():
    absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    if CHROMIUM is None:
        absent("missing: chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class ByHand(Desk):
    """A desk whose model is the phantom's own mask: quick, and known."""

    def segment(self, study, progress: Progress) -> None:
        cine, mask, _ = beating_ventricle(SMALL)
        document = write_study(assess(cine, mask), self.folder(study["id"], 0), overwrite=True)
        self.store.save_version(study["id"], document, who="truth", parent=None)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with two studies."""
    root = tmp_path_factory.mktemp("desk")
    cine: Cine = beating_ventricle(SMALL)[0]
    for seed, name in enumerate(("first", "second")):
        write_dicom_cine(cine, root / "in" / name, seed=seed)
    store = Store.in_file(root / "desk.db")
    assert index_folder(store, root / "in") == 2
    desk = ByHand(store, root / "results", lambda: None)
    server = uvicorn.Server(uvicorn.Config("none", port=0, log_level="error", access_log=False))
    socket = server.config.bind_socket()
    host = f"127.0.0.1:{socket.getsockname()[1]}"
    access = Access(frozenset({host}), frozenset({f"http://{host}"}))
    server.config.app = make_app(desk, Worker(store, desk.segment), access)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[socket])), daemon=True
    )
    thread.start()
    yield f"http://{host}/open?token={access.token}"
    server.should_exit = True
    thread.join(20)
    store.close()


def test_a_study_is_segmented_by_keyboard_and_its_report_opens(browser, address: str) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 1100, "height": 700})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert "token" not in page.url
    expect(page.get_by_role("rowheader")).to_have_text(["first", "second"])
    page.get_by_label("Find").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Segment first")).to_be_focused()
    page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has_text="first")
    expect(row.get_by_role("link", name="Report of first")).to_be_visible(timeout=60_000)
    cine, mask, _ = beating_ventricle(SMALL)
    ef = assess(cine, mask).measurements.ef_percent
    expect(row).to_contain_text(f"{ef:.1f}")
    expect(row).to_contain_text("version 0")
    page.get_by_label("Find").fill("sec")
    expect(page.get_by_role("rowheader")).to_have_text(["second"])
    page.get_by_label("Find").fill("")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("phantom")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()  # its script ran
    assert said == []
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {
        address.split("/")[2]
    }
    page.close()


def test_a_phone_shows_every_study_without_scrolling_aside(browser, address: str) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 375, "height": 812})
    page.goto(address)
    expect(page.get_by_text("second")).to_be_visible()
    sides = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(sides) == 0
    page.close()
