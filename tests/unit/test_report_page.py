"""The page of a result: what it says, what it draws, and that it asks nobody for anything."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from card_maker import KNOWN, card_with
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_maker import cavity_alone
from PIL import Image

from lvseg.cine import Cine, Mask, Source
from lvseg.contours import signed_area_px, slice_contours, smooth_contour
from lvseg.display import heart_box
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.report import to_html
from lvseg.report.curve import curve, number, ticks
from lvseg.report.page import figures, result_line
from lvseg.report.sprites import frame_contours, sprite_sheets
from lvseg.report.thickness import thickness_chart
from lvseg.results import Confidence, LVMeasurements, Phases, StudyResult

SMALL = PhantomOptions(
    phases=9, slices=7, rows=88, columns=100, pixel_spacing_mm=(2.3, 2.1), slices_above_base=1
)


def result_of(cine: Cine, mask: Mask, **more) -> StudyResult:
    values = measure(mask, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm)
    return StudyResult(cine, mask, values, values.issues, None, **more)


@pytest.fixture(scope="module")
def phantom() -> StudyResult:
    cine, mask, _ = beating_ventricle(SMALL)
    return result_of(cine, cavity_alone(mask), seconds={"read": 1.0, "predict": 2.5})


@pytest.fixture(scope="module")
def page(phantom: StudyResult) -> str:
    return to_html(phantom)


class Elements(HTMLParser):
    """Every element with its attributes, and the words outside style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._silent = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._silent = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        self.words += "" if self._silent else data


def words_of(text: str) -> str:
    return " ".join(Elements(text).words.split())


def player_of(text: str) -> dict:
    return json.loads(re.search(r'id="study">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(steps: list[int]) -> np.ndarray:
    return np.cumsum(np.array(steps).reshape(-1, 2), axis=0)


# No request


def test_the_page_loads_nothing_from_anywhere(page):
    loading = {"src", "href", "srcset", "data", "poster", "action", "xlink:href", "formaction"}
    addresses = [
        value or ""
        for _, attributes in Elements(page).found
        for name, value in attributes.items()
        if name in loading
    ]
    assert len(addresses) > 7 + 2 * 7  # the sheets and the tiles
    assert [each[:40] for each in addresses if not each.startswith(("data:image/", "#"))] == []
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert not re.search(r"url\(|@import|@font-face|http", style)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert not re.search(r"\bfetch\b|XMLHttp|WebSocket|\bimport\b|sendBeacon|http|eval\(", script)


def test_the_policy_lets_only_our_script_run(page):
    import hashlib

    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        attributes["content"]
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize(
    "evil", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b < c {{"]
)
def test_words_from_outside_stay_words(phantom, evil):
    cine = replace(phantom.cine, source=replace(phantom.cine.source, name=evil, order_rule=evil))
    values = replace(phantom.measurements, methods={evil: evil})
    found = (Issue(evil, "warning", evil, 1, 2),)
    text = to_html(replace(phantom, cine=cine, measurements=values, issues=found))
    tags = [tag for tag, _ in Elements(text).found]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not any("onerror" in attributes for _, attributes in Elements(text).found)
    assert words_of(text).count(" ".join(evil.split())) >= 4
    player_of(text)


def test_neither_path_nor_identifiers_are_told(phantom):
    source = replace(
        phantom.cine.source, location="/home/JANE^DOE/cine", study_uid="1.2.826.0.1.77"
    )
    text = to_html(replace(phantom, cine=replace(phantom.cine, source=source)))
    assert "JANE" not in text
    assert "1.2.826" not in text


def test_the_same_result_gives_the_same_page(phantom, page):
    assert to_html(phantom) == page


def test_a_usual_study_stays_below_two_and_a_half_megabytes():
    rng = np.random.default_rng(4)
    labels = np.zeros((20, 12, 120, 130), np.uint8)
    labels[:, :, 40:80, 45:90] = 1
    noise = rng.standard_normal(labels.shape, np.float32)  # 6 %, more than scanners leave
    frames = 80 + 180 * labels.astype(np.float32) + 15 * noise
    cine = Cine(frames, Source("array", "noise"))
    assert len(to_html(result_of(cine, Mask(labels, tuple(range(20)))))) < 2_500_000


# What it says


def test_the_numbers_stand_on_the_page(phantom, page):
    words, values = words_of(page), phantom.measurements
    for value in (values.edv_ml, values.esv_ml, values.sv_ml):
        assert f"{value:.1f} ml" in words
    assert f"{values.ef_percent:.1f} %" in words
    assert f"{values.peak_ejection_rate_ml_s:.0f} ml/s" in words
    assert words.count("Research use only. Not a medical device.") == 1
    spacing = "2.3 \N{MULTIPLICATION SIGN} 2.1 mm"
    for fact in ("slices 7", "phases 9", spacing, "10 mm, centre to centre"):
        assert fact in words
    assert "3.5 s" not in words  # the same result, the same page
    assert "papillary muscles counted as cavity" in words


def test_unknown_is_unknown_with_its_reason_and_never_0(phantom):
    nothing = Mask(np.zeros_like(phantom.mask.labels), phantom.mask.phases)
    for each in figures(result_of(replace(phantom.cine, heart_rate_bpm=None), nothing)):
        assert each.value is None, each
        assert each.why, each
    cine = Cine(phantom.cine.frames, Source("nifti", "no-place"))
    mask = Mask(phantom.mask.labels, phantom.mask.phases)
    result = result_of(cine, mask)
    found = {each.name: (each.value, each.why) for each in figures(result)}
    assert found["EF"] == (None, "spacing not known")
    assert found["Heart rate"] == (None, "not stated by the source")
    assert found["Expected Dice"] == (None, "no model")
    assert result_line(result) == "No EF, EDV, ESV (spacing not known)"
    assert "in px, volumes are unknown" in words_of(to_html(result))


def test_known_rates_and_certainty_are_told(phantom):
    by_slice = tuple(
        tuple(0.91 if area else None for area in row) for row in phantom.measurements.area_px
    )
    values = replace(phantom.measurements, heart_rate_bpm=71.6, cardiac_output_l_min=5.25)
    told = replace(phantom, measurements=values, confidence=Confidence(0.934, by_slice))
    found = {each.name: each.value for each in figures(told)}
    # 71.6 -> 72, 5.25 -> 5.2 (half to even), 0.934 -> 0.93
    assert (found["Heart rate"], found["Cardiac output"], found["Expected Dice"]) == (
        "72",
        "5.2",
        "0.93",
    )
    assert player_of(to_html(told))["dice"][0] == list(by_slice[0])


@pytest.mark.parametrize(
    ("severity", "verdict"), [("info", "Pass"), ("warning", "Review"), ("error", "Fail")]
)
def test_the_verdict_is_a_word(phantom, severity, verdict):
    text = to_html(replace(phantom, issues=(Issue("seen", severity, "something seen."),)))
    assert f"Verdict: {verdict} " in words_of(text)
    assert f"{severity.capitalize()} Something seen. seen" in words_of(text)


def test_findings_come_worst_first_and_link_to_their_place(phantom):
    text = to_html(
        replace(
            phantom,
            issues=(
                Issue("a", "info", "First.", phase=3),
                Issue("b", "warning", "Second.", slice=0),
                Issue("c", "error", "Third.", 2, 8),
                Issue("d", "error", "Nowhere.", 7, 9),  # slices 0 to 6, phases 0 to 8
            ),
        )
    )
    listed = text[text.index('class="findings"') : text.index('class="hero"')]
    links = [attributes for tag, attributes in Elements(listed).found if tag == "a"]
    places = [(each.get("data-slice"), each.get("data-phase")) for each in links]
    assert places == [("2", "8"), ("0", None), (None, "3")]
    assert re.findall("Third|Nowhere|Second|First", listed) == [
        "Third",
        "Nowhere",
        "Second",
        "First",
    ]


def test_every_slice_stands_there_at_both_moments(phantom, page):
    found = phantom.measurements.phases
    tiles = [
        attributes
        for tag, attributes in Elements(page).found
        if tag == "a" and "tile" in attributes["class"]
    ]
    places = [(int(each["data-phase"]), int(each["data-slice"])) for each in tiles]
    moments = (found.end_diastole, found.end_systole)
    assert places == [(phase, index) for phase in moments for index in range(7)]
    for (phase, index), tile in zip(places, tiles, strict=True):
        assert ("empty" in tile["class"]) == (phantom.measurements.area_px[phase][index] == 0)


def test_a_picture_has_no_slider_no_curve_and_an_area(phantom):
    cine = Cine(phantom.cine.frames[:1, 3:4].copy(), Source("picture", "one"))
    mask = Mask(phantom.mask.labels[:1, 3:4].copy(), (0,))
    text = to_html(result_of(cine, mask))
    tags = [tag for tag, _ in Elements(text).found]
    assert "input" not in tags
    assert 'id="chart"' not in text
    assert 'id="play"' not in text
    assert f"Area {int(mask.labels.sum())} px, no EF, EDV, ESV (one slice only)" in words_of(
        text
    ).replace("\N{NARROW NO-BREAK SPACE}", "")


def test_one_phase_tells_its_volume(phantom):
    cine = replace(phantom.cine, frames=phantom.cine.frames[4:5].copy(), times_ms=None)
    mask = replace(phantom.mask, labels=phantom.mask.labels[4:5].copy(), phases=(0,))
    result = result_of(cine, mask)
    assert result_line(result).startswith(
        f"Volume {result.measurements.volume_ml[0]:.1f} ml, no EF"
    )
    text = to_html(result)
    assert 'id="chart"' not in text
    assert "All slices phase 0" in words_of(text)


def test_a_study_without_cavity_shows_its_images(phantom):
    mask = replace(phantom.mask, labels=np.zeros_like(phantom.mask.labels))
    text = to_html(result_of(phantom.cine, mask))
    assert "Verdict: Fail" in words_of(text)
    assert "No left ventricle cavity was found in any frame." in words_of(text)
    assert len([tag for tag, _ in Elements(text).found if tag == "image"]) == 7
    assert 'class="tile jump empty"' not in text  # nothing to compare with: not dimmed


def test_a_mask_of_two_phases_fits_the_whole_cine(phantom):
    mask = replace(phantom.mask, labels=phantom.mask.labels[[4, 0]].copy(), phases=(4, 0))
    result = result_of(phantom.cine, mask)
    player = player_of(to_html(result))
    assert (player["phases"], player["ed"], player["es"]) == (9, 0, 4)
    assert [bool(areas) for areas in player["areas"]] == [phase in (0, 4) for phase in range(9)]
    assert player["areas"][4] == pytest.approx(result.measurements.area_mm2[0], abs=0.06)
    assert curve(result).lines == ()  # they are no neighbours


def test_a_mask_on_another_grid_is_refused(phantom):
    with pytest.raises(GeometryMismatchError, match="grid"):
        to_html(replace(phantom, mask=replace(phantom.mask, labels=phantom.mask.labels[..., :-1])))


def test_a_beat_takes_as_long_as_it_does(phantom, page):
    # 65 beats a minute, 9 phases evenly: 60000 / 65 = 923.1 ms
    assert player_of(page)["beatMs"] == pytest.approx(923.1, abs=0.1)
    without = replace(phantom.cine, times_ms=None, heart_rate_bpm=None)
    assert player_of(to_html(replace(phantom, cine=without)))["realTime"] is False
    paced = replace(without, heart_rate_bpm=80.0)
    assert player_of(to_html(replace(phantom, cine=paced)))["beatMs"] == 750  # 60000 / 80


# What it draws


def sheet_of(address: str) -> np.ndarray:
    head, data = address.split(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))), np.float64)


def test_every_frame_stands_where_the_script_looks_for_it():
    # phase p of slice z is a step at column 10 + 6 p (z = 0) or row 10 + 6 p (z = 1)
    frames = np.zeros((5, 2, 80, 80), np.float32)
    for phase in range(5):
        frames[phase, 0, :, 10 + 6 * phase :] = 50
        frames[phase, 1, 10 + 6 * phase :] = 50
    sheets = sprite_sheets(Cine(frames, Source("array", "steps")), Box(0, 0, 80, 80))
    assert (sheets.edge_px, sheets.columns, sheets.rows) == (160, 3, 2)  # twice the pixels
    for index, image in enumerate(map(sheet_of, sheets.images)):
        assert image.shape == (320, 480)
        for phase in range(5):
            x, y = sheets.corner_px(phase)
            tile = image[y : y + 160, x : x + 160]
            across = tile.mean(axis=0) if index == 0 else tile.mean(axis=1)
            edge = 2 * (10 + 6 * phase)
            assert across[: edge - 4].max() < 12
            assert across[edge + 4 :].min() > 243


def test_long_cines_have_smaller_frames():
    frames = np.zeros((40, 24, 40, 40), np.float32)
    sheets = sprite_sheets(Cine(frames, Source("array", "long")), Box(0, 0, 90, 90))
    # sqrt(240 * 160^2 / 960) = 80, whole blocks of 8
    assert sheets.edge_px == 80


def test_what_lies_outside_the_image_is_dark():
    frames = np.full((1, 1, 20, 30), 5.0, np.float32)
    frames[0, 0, 0, 0] = 1.0
    sheets = sprite_sheets(Cine(frames, Source("array", "small")), Box(-5, -5, 40, 40))
    image = sheet_of(sheets.images[0])
    assert image[30, 40] > 240
    assert image[2, 2] < 12


def test_contours_lie_on_the_mask(phantom):
    box = heart_box(phantom.mask)
    drawn = frame_contours(phantom.mask, phantom.cine, box, 160)[Label.LV_CAVITY]
    scale = np.array([160 / box.columns, 160 / box.rows])
    for phase, index in ((0, 3), (5, 2)):
        (steps,) = drawn[phase][index]
        points = unpacked(steps) / 10 / scale + (box.left, box.top) - 0.5
        inside = phantom.mask.labels[phase, index] > 0
        rows, columns = np.nonzero(inside)
        # x and y reach from half a pixel before the first centre to half a pixel behind the last
        assert points.min(axis=0) == pytest.approx((columns.min() - 0.5, rows.min() - 0.5), abs=0.6)
        assert points.max(axis=0) == pytest.approx((columns.max() + 0.5, rows.max() + 0.5), abs=0.6)
        assert abs(signed_area_px(points)) == pytest.approx(inside.sum(), rel=0.04)
    assert drawn[0][6] == []


def distance_to(polygon: np.ndarray, point: np.ndarray) -> float:
    starts, steps = polygon, np.roll(polygon, -1, axis=0) - polygon
    along = np.clip(((point - starts) * steps).sum(1) / (steps**2).sum(1), 0, 1)
    return float(np.hypot(*(starts + along[:, None] * steps - point).T).min())


def drawn_in_order(points: np.ndarray) -> np.ndarray:
    """The curve from middle to middle, with its two ends and its middle as corners."""
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    pairs = [(before + 6 * points + after) / 8, (points + after) / 2]
    return np.stack(pairs, axis=1).reshape(-1, 2)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=5, max_size=5))
def test_smoothing_moves_no_outline_by_a_pixel(cells):
    inside = np.kron(np.array(cells), np.ones((2, 3), bool))
    for polygon in slice_contours(inside):
        points = smooth_contour(polygon)[::2]
        assert max(distance_to(polygon, point) for point in drawn_in_order(points)) < 0.8
        assert max(distance_to(drawn_in_order(points), point) for point in polygon) < 1


def test_a_hole_has_its_own_contour():
    labels = np.zeros((1, 1, 40, 44), np.uint8)
    labels[0, 0, 10:30, 12:32] = 1
    labels[0, 0, 16:24, 18:26] = 0
    mask, cine = Mask(labels, (0,)), Cine(labels.astype(np.float32), Source("array", "ring"))
    found = frame_contours(mask, cine, Box(0, 0, 40, 40), 80)
    outer, inner = found[Label.LV_CAVITY][0][0]
    areas = [signed_area_px(unpacked(steps) / 20) for steps in (outer, inner)]
    assert areas[0] > 0 > areas[1]
    # 20 x 20 and 8 x 8, whose corners are rounded
    assert areas == pytest.approx([400, -64], rel=0.1)


def test_every_label_has_its_outer_boundary_in_its_colour(phantom, page):
    assert "swatch" not in page.split("</style>")[1]
    labels = phantom.mask.labels.copy()
    labels[:, 3, 20:70, 20:70] += (labels[:, 3, 20:70, 20:70] == 0) * np.uint8(Label.LV_MYOCARDIUM)
    text = to_html(replace(phantom, mask=replace(phantom.mask, labels=labels)))
    wall, cavity = player_of(text)["contours"]
    assert (cavity["colour"], wall["colour"]) == (None, "rgb(70 190 255)")
    assert len(wall["frames"][0][3]) == 1  # around the square, with no hole for the cavity
    assert wall["frames"][0][2] == []
    styles = [
        attributes.get("style")
        for tag, attributes in Elements(text).found
        if attributes.get("class") == "contour"
    ]
    assert styles.count("stroke: rgb(70 190 255)") == 2  # one at each moment
    assert styles.count(None) == sum(
        phantom.measurements.area_px[phase][index] > 0
        for phase in (player_of(text)["ed"], player_of(text)["es"])
        for index in range(7)
    )
    assert "Colours: left ventricle cavity, left ventricle myocardium." in words_of(text)


# The wall, and intervals


@pytest.fixture(scope="module")
def walled() -> StudyResult:
    cine, mask, _ = beating_ventricle(SMALL)
    return result_of(cine, mask)


def test_a_wall_has_a_mass_among_the_main_numbers_and_a_chart(walled):
    text, values = to_html(walled), walled.measurements
    assert f"Mass {values.mass_g:.1f} g" in result_line(walled)
    (mass,) = (each for each in figures(walled) if each.name == "Mass")
    assert (mass.main, mass.unit, mass.interval) == (True, "g", "")
    found = thickness_chart(walled)
    assert found is not None
    assert [bar.slice for bar in found.bars] == list(range(7))
    assert [bool(bar.words) for bar in found.bars] == [
        each is not None for each in values.wall_thickness_mm
    ]
    known = [bar for bar in found.bars if bar.words]
    tall = {bar.words: bar.height for bar in known}
    for words, height in tall.items():  # bars are as high as their number
        assert height / known[0].height == pytest.approx(float(words) / float(known[0].words), 0.02)
    assert all(bar.y + bar.height == pytest.approx(found.bottom, abs=0.2) for bar in known)
    assert found.ends == ("apex", "base")
    words = words_of(text)
    assert "Wall thickness in mm at end-diastole" in words
    assert "Sectors are not shown" in words
    assert text.count('class="bar"') == len(known)


def test_a_cavity_alone_has_no_chart_and_says_why_there_is_no_mass(phantom, page):
    assert thickness_chart(phantom) is None
    assert "Wall thickness" not in words_of(page)
    (mass,) = (each for each in figures(phantom) if each.name == "Mass")
    assert (mass.main, mass.value, mass.why) == (False, None, "no myocardium outlined")
    assert "Mass" not in result_line(phantom)


def test_intervals_stand_below_their_values_with_their_coverage(walled, page):
    values = replace(
        walled.measurements, ef_percent_interval=(52.04, 61.0), edv_ml_interval=(1111.1, 1222.2)
    )
    made_by = card_with(KNOWN)
    text = to_html(replace(walled, measurements=values, card=made_by))
    found = {each.name: each.interval for each in figures(replace(walled, measurements=values))}
    assert found["EF"] == "52.0 to 61.0"
    assert found["EDV"] == "1\u202f111.1 to 1\u202f222.2"
    assert (found["ESV"], found["SV"]) == ("", "")
    assert text.count('class="interval"') == 2
    assert "where the true one lies, with 90 % confidence" in words_of(text)
    assert "confidence" not in words_of(page)


# The curve


def curve_of(volumes, **more):
    count = len(volumes)
    labels = np.ones((count, 1, 2, 3), np.uint8)
    frames = labels.astype(np.float32)
    phases = Phases(int(np.argmax(volumes)), int(np.argmin(volumes)), "drawn")
    areas = tuple((int(volume),) for volume in volumes)
    values = LVMeasurements(phases, tuple(volumes), None, areas, None, None, None, None)
    cine = Cine(frames, Source("array", "curve"), **more)
    return curve(StudyResult(cine, Mask(labels, tuple(range(count))), values, (), None))


def test_the_curve_runs_through_the_volumes():
    drawn = curve_of((100.0, 60.0, 40.0, 80.0), times_ms=(0.0, 200.0, 300.0, 600.0))
    # width: 14 + 3 characters of 8.5 = 39.5 to 460 - 14 = 446, 600 ms: 406.5 units
    assert [point.x for point in drawn.points] == pytest.approx([39.5, 175, 242.8, 446], abs=0.06)
    # height: 284 - 38 = 246 down to 30, 102 ml: 216 units; 100 ml -> 246 - 211.8 = 34.2
    assert [point.y for point in drawn.points] == pytest.approx(
        [34.2, 118.9, 161.3, 76.6], abs=0.06
    )
    assert drawn.lines == ("M39.5 34.2L175 118.9L242.8 161.3L446 76.6",)
    assert [(mark.name, mark.words, mark.anchor) for mark in drawn.marks] == [
        ("ED", "100.0 ml", "start"),
        ("ES", "40.0 ml", "middle"),
    ]
    assert drawn.marks[0].label_y < drawn.points[0].y
    assert drawn.marks[1].label_y > drawn.points[2].y
    assert [words for _, words in drawn.x_ticks] == ["0", "100", "200", "300", "400", "500", "600"]
    assert [words for _, words in drawn.y_ticks] == ["0", "50", "100"]


def test_an_emptied_ventricle_is_labelled_above_the_axis():
    drawn = curve_of((100.0, 50.0, 2.0, 60.0))
    assert drawn.marks[1].label_y < drawn.points[2].y
    assert drawn.x_words == "Phase"


def test_no_cavity_or_one_phase_gives_no_curve():
    assert curve_of((0.0, 0.0)) is None
    assert curve_of((90.0,)) is None


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.floats(1e-3, 1e6), st.integers(2, 9), st.booleans())
def test_ticks_are_round_few_and_within(most, count, whole):
    found = ticks(most, count, whole=whole)
    assert found[0] == 0
    assert len(found) <= count + 1
    assert found[-1] <= most * (1 + 1e-9)
    steps = np.diff(found)
    assert np.allclose(steps, steps[:1].repeat(len(steps)))
    if len(found) > 1:
        assert f"{steps[0]:.6e}"[0] in "125"
        assert f"{steps[0]:.6e}"[2:8] == "000000"


def test_numbers_have_thin_spaces_and_no_negative_zero():
    assert number(12345.678, 0) == "12\N{NARROW NO-BREAK SPACE}346"
    assert number(-0.01) == "0.0"
