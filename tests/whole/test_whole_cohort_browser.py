"""The page of a cohort in a real browser: it asks nobody, fits a phone, leads to the reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvseg.cohort import failed_row, read_rows, write_page

STUDIES = 12
#: What sticks out of the window, by name of element and class.
WIDE = """() => [...document.querySelectorAll("body *")]
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => `${each.tagName} ${each.className}`)"""
#: Colours of text and ground of every verdict, as [text, ground].
COLOURS = """() => [...document.querySelectorAll(".counts .ruled")].map((each) => {
  const style = getComputedStyle(each);
  return [style.color, style.backgroundColor];
})"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a dozen studies with montages of seven slices, and one that failed."""
    root = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(5)
    for number in range(STUDIES):
        folder = root / f"a study with quite a long name {number}"
        (folder / "overlays").mkdir(parents=True)
        for phase in ("ed", "es"):
            pixels = rng.integers(0, 255, (30 + 2 * 242 - 2, 4 * 242 - 2, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "overlays" / f"{phase}.png")
        (folder / "report.html").write_text("<h1>report</h1>")
        verdict = ("pass", "review", "fail")[number % 3]
        finding = {"code": "x", "severity": "warning", "text": "Look at this slice. " * 6}
        document = {
            "lvseg": "0.1.0",
            "study": {"slices": 7, "phases": 20},
            "model": {"name": "lv-sax"},
            "quality": {"verdict": verdict, "findings": [finding] * 3, "expected_dice": 0.9},
            "ef_percent": 30.0 + 3 * number,
            "edv_ml": 1140.0 + number,
            "esv_ml": 60.0 + number,
            "mass_g": 120.0,
            "ef_percent_interval": [25.0, 66.0],
            "edv_ml_interval": [1021.5, 1305.5],
            "slices_ed": [1, 5],
        }
        (folder / "measurements.json").write_text(json.dumps(document))
    rows = [*read_rows(root).values(), failed_row("gone", 3, "expected a folder, " * 20)]
    return write_page(rows, root)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of ``rgb(r, g, b)``."""
    channels = [int(each) / 255 for each in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 760, 1280])
def test_it_fits_asks_nobody_and_can_be_read(browser, page_file, width, scheme):
    session = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, asked, complaints = session.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(page_file.as_uri())
    assert page.evaluate(WIDE) == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert complaints == []
    assert page.locator(".study").count() == STUDIES + 1
    assert page.locator(".chart").count() == 4
    assert page.evaluate("[...document.images].every((each) => each.naturalWidth === 128)")
    for text, ground in page.evaluate(COLOURS):
        light, dark = sorted((luminance(text), luminance(ground)))[::-1]
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    session.close()


def test_a_link_leads_to_the_report(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.get_by_role("link", name="a study with quite a long name 4", exact=True).click()
    assert page.locator("h1").text_content() == "report"
    page.close()
