"""Screenshots of docs/report.md: the report of one real study in a browser.

Needs Chromium, the Python package playwright and the data; the study (Sunnybrook, CC0) is one of
the model's training patients.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from provenance import DATA, ROOT

from lvseg import model_store
from lvseg.pipeline import run
from lvseg.predict import load_model
from lvseg.report import to_html

STUDY = "SCD0000101"
FOLDER = ROOT / "docs" / "pictures"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
#: A screenshot in the docs has this many greys and other colours; more only makes the file larger.
GREYS, HUES = 56, 96


def nothing(page: Any) -> None:
    """Leave the page as it opens."""


def every_slice_at_end_systole(page: Any) -> None:
    """Show the montage in the player."""
    page.get_by_role("button", name="All slices").click()
    page.get_by_role("button", name="Go to end-systole").click()


def with_few_colours(image: Image.Image) -> Image.Image:
    """Keep the hues: chosen among all pixels they would drown in the greys of the images."""
    pixels = np.asarray(image).reshape(-1, 3)
    hued = pixels[np.ptp(pixels.astype(int), axis=1) > 10]
    hues = np.reshape(Image.fromarray(hued[None]).quantize(HUES).getpalette(), (-1, 3))
    greys = np.repeat(np.linspace(0, 255, GREYS)[:, None], 3, axis=1)
    palette = np.concatenate([greys, hues]).round().astype(np.uint8)
    colours, place = np.unique(pixels, axis=0, return_inverse=True)
    away = np.abs(colours[:, None].astype(int) - palette[None]).sum(axis=2)
    nearest = away.argmin(axis=1).astype(np.uint8)[place.ravel()]
    result = Image.frombytes("P", image.size, nearest.tobytes())
    result.putpalette(palette.ravel().tolist())
    return result


def take(browser: Any, page_file: Path, name: str, act: Callable[[Any], None], **look: Any) -> None:
    """Open the page without motion, act, and keep what the window shows."""
    context = browser.new_context(reduced_motion="reduce", **look)
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]")
    act(page)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    image = Image.open(BytesIO(page.screenshot())).convert("RGB")
    context.close()
    path = FOLDER / f"report-{name}.png"
    with_few_colours(image).save(path, optimize=True)
    print(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size / 1024:.0f} kB")


def main() -> int:
    """Segment the study, write its report, take three screenshots."""
    from playwright.sync_api import sync_playwright

    source = DATA / "sunnybrook-dicom" / STUDY / "dicom"
    result = run(source, load_model(model_store.locate(model_store.DEFAULT)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder) / "report.html"
        page.write_text(to_html(result), "utf-8")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        take(browser, page, "desktop", nothing, **DESKTOP)
        take(browser, page, "phone", nothing, **PHONE)
        take(
            browser, page, "dark", every_slice_at_end_systole, **DESKTOP | {"color_scheme": "dark"}
        )
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
