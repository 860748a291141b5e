"""The page of a result in a real browser: it plays, jumps, fits a phone and asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.issues import Issue
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.report import to_html
from lvseg.results import StudyResult

PHASES, SLICES = 8, 6
DESKTOP, PHONE = {"width": 1000, "height": 700}, {"width": 375, "height": 812}


@pytest.fixture(scope="module")
def phantom() -> StudyResult:
    options = PhantomOptions(
        phases=PHASES, slices=SLICES, rows=90, columns=100, pixel_spacing_mm=(2.2, 2.0)
    )
    cine, mask, _ = beating_ventricle(options)
    values = measure(mask, times_ms=cine.times_ms)
    found = (
        Issue("everywhere", "info", "No place.", None, None),
        Issue("there", "warning", "A place.", 4, 5),
    )
    return StudyResult(cine, mask, values, found, None)


CHECKSUM = """() => {
  const shown = document.getElementById("canvas"), copy = new OffscreenCanvas(300, 300);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(shown, 0, 0, 300, 300);
  const { data } = pen.getImageData(0, 0, 300, 300);
  let sum = 0;
  for (const value of new Uint32Array(data.buffer)) sum = (Math.imul(sum, 31) + value) | 0;
  return sum;
}"""


@dataclass
class Opened:
    """A page, what it asked for and what it complained about."""

    page: object
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def picture(self) -> int:
        """A checksum of the pixels of the canvas."""
        return self.page.evaluate(CHECKSUM)

    def at(self) -> tuple[int, int]:
        """(phase, slice) that the canvas shows."""
        shown = self.page.evaluate("({...document.getElementById('canvas').dataset})")
        return int(shown["phase"]), int(shown["slice"])

    def pressed(self, name: str) -> str | None:
        return self.page.locator(name).get_attribute("aria-pressed")


@contextmanager
def opened(
    browser, folder: Path, result: StudyResult, *, clock: bool = False, **context
) -> Iterator[Opened]:
    """Open the page; with ``clock`` time passes only when it is told to."""
    file = folder / "report.html"
    file.write_text(to_html(result), "utf-8")
    settings = {"viewport": DESKTOP, "reduced_motion": "reduce"} | context
    session = browser.new_context(**settings)
    page = session.new_page()
    seen = Opened(page)
    page.on("request", lambda request: seen.asked.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    if clock:
        page.clock.install(time=0)
        page.clock.pause_at(60)
    page.goto(file.as_uri())
    if context.get("java_script_enabled", True):
        page.wait_for_selector("html[data-ready]")
    yield seen
    session.close()


@pytest.fixture
def report(browser, phantom, tmp_path) -> Iterator[Opened]:
    with opened(browser, tmp_path, phantom) as seen:
        yield seen


def test_it_opens_without_a_request_or_a_complaint(report):
    outside = [url for url in report.asked if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert len([url for url in report.asked if url.startswith("file:")]) == 1
    assert report.complaints == []
    assert report.page.locator(".tile").count() == 2 * SLICES
    drawn = report.page.evaluate(
        "[...document.querySelectorAll('image')].every((image) => image.getBBox().width > 0)"
    )
    assert drawn


def test_the_cine_plays_and_pauses(report):
    page = report.page
    before, picture = report.at(), report.picture()
    page.get_by_role("button", name="Play").click()
    page.wait_for_selector(f"#canvas:not([data-phase='{before[0]}'])")
    page.get_by_role("button", name="Pause").click()
    held = report.at(), report.picture()
    assert held[0][1] == before[1]
    assert held[1] != picture
    assert page.get_by_role("button", name="Play").count() == 1
    page.wait_for_timeout(400)  # three phases and more
    assert (report.at(), report.picture()) == held


def test_it_plays_by_itself_unless_less_motion_is_asked_for(browser, phantom, tmp_path):
    with opened(browser, tmp_path, phantom, reduced_motion="no-preference") as seen:
        assert seen.page.get_by_role("button", name="Pause").count() == 1
    with opened(browser, tmp_path, phantom) as seen:
        assert seen.page.get_by_role("button", name="Play").count() == 1


EVERY_FRAME = """([phases, slices]) => {
  const set = (id, value) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event("input"));
  };
  const canvas = document.getElementById("canvas");
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  const seen = [];
  for (let phase = 0; phase < phases; phase += 1) {
    for (let slice = 0; slice < slices; slice += 1) {
      set("phase", phase);
      set("slice", slice);
      pen.drawImage(canvas, 0, 0);
      const { data } = pen.getImageData(0, 0, copy.width, copy.height);
      let [left, right, top, bottom] = [copy.width, 0, copy.height, 0];
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] < data[at + 1] + 90) continue; // not red
        const x = (at / 4) % copy.width, y = Math.floor(at / 4 / copy.width);
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
      const middle = 4 * (copy.width * Math.floor(copy.height / 2) + Math.floor(copy.width / 2));
      seen.push([data[middle], left, right, top, bottom].map((each, at) =>
        at ? each / copy.width : each));
    }
  }
  return seen;
}"""


def test_every_frame_shows_its_own_picture_and_outline(browser, tmp_path):
    # Even frames, darkest first in slice 0, last in slice 1, from phase 3 on in slice 2.
    order = np.stack([np.arange(7), np.arange(7)[::-1], np.roll(np.arange(7), 3)], axis=1)
    frames = np.broadcast_to(order[:, :, None, None], (7, 3, 144, 144)).astype(np.float32)
    labels = np.zeros(frames.shape, np.uint8)
    for phase in range(7):
        labels[phase, :, 52:92, 54 - phase : 90 + phase] = (
            1  # 48 columns at most, around the middle
        )
    cine, mask = Cine(frames, Source("array", "even")), Mask(labels, tuple(range(7)))
    values = measure(mask)
    with opened(browser, tmp_path, StudyResult(cine, mask, values, (), None)) as seen:
        shown = seen.page.evaluate(EVERY_FRAME, [7, 3])
    # the crop: 48 * (1 + 2 * 0.55) = 100.8, so 101 pixels; it begins at (144 - 101) // 2 = 21
    for (phase, index), (grey, left, right, top, bottom) in zip(
        np.ndindex(7, 3), shown, strict=True
    ):
        assert grey == pytest.approx(255 * order[phase, index] / 6, abs=4), (phase, index)
        edges = (54 - phase - 21, 90 + phase - 21, 52 - 21, 92 - 21)
        expected = [edge / 101 for edge in edges]
        assert [left, right, top, bottom] == pytest.approx(expected, abs=0.01), (phase, index)


def test_keys_move_the_cine(report, phantom):
    keys, start = report.page.keyboard, phantom.measurements.phases.end_diastole
    _, index = report.at()
    keys.press("ArrowRight")  # nothing has the focus, the pictures are in sight
    assert report.at() == ((start + 1) % PHASES, index)
    keys.press("ArrowUp")  # left to scrolling
    assert report.at() == ((start + 1) % PHASES, index)
    report.page.locator("#stage").focus()
    for key, place in (
        ("ArrowLeft", (start, index)),
        ("ArrowLeft", ((start - 1) % PHASES, index)),
        ("ArrowDown", ((start - 1) % PHASES, index + 1)),
        ("ArrowUp", ((start - 1) % PHASES, index)),
    ):
        keys.press(key)
        assert report.at() == place
    outlined = report.picture()
    keys.press("c")
    assert report.pressed("#contour") == "false"
    assert report.picture() != outlined
    keys.press("c")
    assert report.picture() == outlined
    keys.press("Space")
    assert report.page.get_by_role("button", name="Pause").count() == 1
    keys.press("Space")
    assert report.page.get_by_role("button", name="Play").count() == 1
    report.page.locator("#contour").focus()
    keys.press("Space")  # the button's own key
    assert report.pressed("#contour") == "false"
    assert report.page.get_by_role("button", name="Play").count() == 1


def test_focus_is_seen(report):
    report.page.keyboard.press("Tab")
    outlines = set()
    for _ in range(12):
        outlines.add(report.page.evaluate("getComputedStyle(document.activeElement).outlineWidth"))
        report.page.keyboard.press("Tab")
    assert outlines == {"3px"}


def test_a_finding_jumps_to_its_place(report):
    report.page.get_by_role("button", name="All slices").click()
    report.page.locator(".findings a").click()
    assert report.at() == (5, 4)
    assert report.pressed("#one") == "true"
    assert report.page.evaluate("document.activeElement.id") == "stage"
    assert report.page.locator(".findings a").count() == 1  # the other has no place


def test_a_tile_jumps_to_its_slice(report, phantom):
    end_systole = phantom.measurements.phases.end_systole
    report.page.get_by_role("link", name="Slice 2, end-systole").click()
    assert report.at() == (end_systole, 2)
    assert report.page.locator("#says-moment").inner_text() == "End-systole"


def test_the_curve_moves_the_cine_and_follows_it(report):
    page, box = report.page, report.page.locator("#chart").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 6, box["y"] + box["height"] / 2)
    assert report.at()[0] == PHASES - 1
    last = page.locator("#cursor").get_attribute("transform")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert report.at()[0] in (PHASES // 2 - 1, PHASES // 2)
    page.mouse.move(5, 5)
    page.locator("#chart").focus()
    page.keyboard.press("Home")
    assert report.at()[0] == 0
    assert page.locator("#cursor").get_attribute("transform") != last
    assert page.locator("#chart").get_attribute("aria-valuenow") == "0"


def test_all_slices_play_at_once_and_one_is_chosen(report):
    page, one = report.page, report.picture()
    page.get_by_role("button", name="All slices").click()
    every = report.picture()
    assert every != one
    page.keyboard.press("ArrowRight")
    assert report.picture() != every
    box = page.locator("#stage").bounding_box()
    # 6 slices fill the square as 3 columns by 2 rows: the last one ends at the right, 5/6 down
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + box["height"] * 0.8)
    assert report.at()[1] == SLICES - 1
    assert report.pressed("#one") == "true"


def test_a_beat_takes_as_long_as_it_does(browser, phantom, tmp_path):
    with opened(browser, tmp_path, phantom, clock=True) as seen:
        # 65 beats a minute, 8 phases: one each 115 ms; in 400 ms 3.5 phases pass
        for speed, phases in (("0.5", 1), ("1", 3), ("2", 6)):
            seen.page.locator("#phase").fill("1")
            seen.page.get_by_label("Speed").select_option(speed)
            seen.page.get_by_role("button", name="Play").click()
            seen.page.clock.run_for(400)
            assert seen.at()[0] == 1 + phases


def test_nothing_scrolls_sideways(browser, phantom, tmp_path):
    long = "anamewithoutanyplacetobreak" * 5
    named = replace(phantom.cine, source=replace(phantom.cine.source, name=long))
    with opened(browser, tmp_path, replace(phantom, cine=named), viewport=PHONE) as seen:
        for spacing in ("normal", "1px"):  # the fonts installed, and wider ones
            seen.page.add_style_tag(content=f"* {{ letter-spacing: {spacing} !important }}")
            for width in (375, 320, 280, 621, 700, 960, 1280):
                seen.page.set_viewport_size({"width": width, "height": 812})
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_changes_paper_and_ink(report):
    colours = {}
    for scheme in ("light", "dark"):
        report.page.emulate_media(color_scheme=scheme)
        style = "getComputedStyle(document.body)"
        colours[scheme] = report.page.evaluate(f"[{style}.backgroundColor, {style}.color]")
    assert colours["light"][0] == "rgb(255, 255, 255)"
    assert colours["dark"][0] != colours["light"][0]
    assert colours["dark"][1] != colours["light"][1]


CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const paper = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const worst = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, script, style")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(paper(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) worst.push([element.textContent.trim(), ratio]);
  }
  return worst;
}"""


def test_words_stand_out_from_their_paper(browser, phantom, tmp_path):
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 to 1."""
    found = tuple(Issue("seen", each, "Seen.", 1, 2) for each in ("info", "warning", "error"))
    with opened(browser, tmp_path, replace(phantom, issues=found)) as seen:
        for scheme in ("light", "dark"):
            seen.page.emulate_media(color_scheme=scheme)
            for verdict in ("pass", "review", "fail"):
                change = "(name) => document.querySelector('.verdict').className = name"
                seen.page.evaluate(change, f"verdict {verdict}")
                assert seen.page.evaluate(CONTRAST) == [], (scheme, verdict)


def test_paper_has_no_controls_and_all_slices(report):
    page = report.page
    page.emulate_media(media="print")
    for name in ("#cine", "button", "select", "input", "#cursor", ".keys"):
        assert all(not each.is_visible() for each in page.locator(name).all()), name
    assert all(each.is_visible() for each in page.locator(".tile").all())
    assert page.locator(".badge").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_everything_that_can_be_pressed_has_a_name(report):
    nameless = report.page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, [tabindex], [role]")]
          .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim()
            || [...(each.labels || [])].some((label) => label.textContent.trim())))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    tree = report.page.locator("body").aria_snapshot()
    for line in ('button "Play"', 'slider "Phase', 'slider "Slice', 'combobox "Speed"'):
        assert line in tree
    ids = report.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


def test_without_scripts_the_still_pictures_remain(browser, phantom, tmp_path):
    with opened(browser, tmp_path, phantom, java_script_enabled=False) as seen:
        assert not seen.page.locator("#cine").is_visible()
        assert all(each.is_visible() for each in seen.page.locator(".tile").all())


@pytest.mark.parametrize("case", ["picture", "phase", "nothing"])
def test_smaller_studies_work_too(browser, phantom, tmp_path, case):
    cine, mask = phantom.cine, phantom.mask
    if case == "picture":
        cine = Cine(cine.frames[:1, 2:3].copy(), Source("picture", "one"))
        mask = Mask(mask.labels[:1, 2:3].copy(), (0,))
    elif case == "phase":
        cine = replace(cine, frames=cine.frames[:1].copy(), times_ms=None)
        mask = replace(mask, labels=mask.labels[:1].copy(), phases=(0,))
    else:
        mask = replace(mask, labels=mask.labels * 0)
    values = measure(mask)
    result = StudyResult(cine, mask, values, values.issues, None)
    with opened(browser, tmp_path, result) as seen:
        assert seen.complaints == []
        assert seen.page.locator("#chart").count() == 0
        assert seen.page.locator("#play").count() == (case == "nothing")
        assert seen.page.locator("#slice").count() == (case != "picture")
        before = seen.picture()
        seen.page.get_by_role("button", name="Contour").click()
        assert (seen.picture() != before) == (case != "nothing")
        seen.page.keyboard.press("ArrowRight")
        seen.page.keyboard.press("Space")
        assert seen.complaints == []
