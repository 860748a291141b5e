"""The page of a cohort: distributions, and every study with its picture, the worst first.

One file that works without a network; its links lead to the reports beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from lvseg.atomic import write_text
from lvseg.cohort.histogram import Histogram, histogram
from lvseg.cohort.rows import Row, read_document
from lvseg.report.curve import number
from lvseg.report.template import resource, template
from lvseg.version import __version__

#: Its name in the output folder.
PAGE = "cohort.html"
#: Edge of a picture in pixels: drawn smaller, sharp on fine screens.
THUMBNAIL_PX = 128
_QUALITY = 72
#: From the worst to the best.
ORDER = ("failed", "fail", "review", "pass")
#: Column, name, unit and digits.
FIGURES = (
    ("ef_percent", "EF", "%", 1),
    ("edv_ml", "EDV", "ml", 1),
    ("esv_ml", "ESV", "ml", 1),
    ("mass_g", "Mass", "g", 1),
)
#: Words for the distributions.
_LONG = {"EF": "Ejection fraction", "EDV": "End-diastolic volume", "ESV": "End-systolic volume"}


def write_page(rows: Sequence[Row], root: Path) -> Path:
    """Write the page of an output folder, whole or not at all.

    :param rows: of its studies, those that failed included.
    """
    return write_text(root / PAGE, to_html(rows, root))


def to_html(rows: Sequence[Row], root: Path) -> str:
    """Describe a cohort as one page; the same input, same text.

    :param root: where the study folders are, for pictures and links.
    """
    shown = [_study(row, root / str(row["study"])) for row in worst_first(rows)]
    counts = [(kind, sum(verdict(row) == kind for row in rows)) for kind in ORDER]
    return template("page.html", "lvseg.cohort").render(
        version=__version__,
        style=resource("page.css") + resource("page.css", "lvseg.cohort"),
        studies=shown,
        counts=[(kind, count) for kind, count in counts if count],
        line=_line(rows),
        charts=list(_charts(rows)),
        with_mass=any(row.get("mass_g") is not None for row in rows),
    )


def verdict(row: Row) -> str:
    """The verdict of a study; ``failed`` where there is no result."""
    return "failed" if row["exit"] else str(row["verdict"])


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """By verdict, then by expected Dice, the unknown before the known; equals as they were."""

    def key(row: Row) -> tuple[int, float]:
        dice = row["expected_dice"]
        return ORDER.index(verdict(row)), -1.0 if dice is None else float(dice)

    return sorted(rows, key=key)


def _line(rows: Sequence[Row]) -> str:
    """What the whole cohort is like, in one line."""
    known = [row["ef_percent"] for row in rows if row["ef_percent"] is not None]
    models = sorted({str(row["model"]) for row in rows if row["model"]})
    parts = [f"median EF {number(median(known))} %"] if known else ["no ejection fraction known"]
    return ", ".join([*parts, *(f"model {name}" for name in models)])


def _charts(rows: Sequence[Row]) -> Iterator[Histogram]:
    for column, name, unit, _ in FIGURES:
        known = [float(row[column]) for row in rows if row[column] is not None]
        chart = histogram(known, _LONG.get(name, name), unit)
        if chart is not None:
            yield chart


def _study(row: Row, folder: Path) -> Mapping[str, Any]:
    """What the template shows of a study."""
    figures = []
    for column, name, unit, digits in FIGURES:
        value, low, high = row[column], row.get(f"{column}_low"), row.get(f"{column}_high")
        between = " to ".join(number(each, digits) for each in (low, high) if each is not None)
        words = None if value is None else number(value, digits)
        figures.append({"name": name, "value": words, "unit": unit, "interval": between})
    dice = row["expected_dice"]
    has_report = (folder / "report.html").is_file() and not row["exit"]
    return {
        "name": row["study"],
        "link": f"{quote(str(row['study']))}/report.html" if has_report else None,
        "verdict": verdict(row),
        "error": row["error"],
        "figures": figures,
        "dice": None if dice is None else number(dice, 2),
        "findings": _findings(folder) if not row["exit"] else [],
        "pictures": [] if row["exit"] else thumbnails(folder),
    }


def _findings(folder: Path) -> list[dict[str, Any]]:
    """What asks to be looked at, errors first."""
    quality = (read_document(folder) or {}).get("quality") or {}
    found = [each for each in quality.get("findings") or () if each["severity"] != "info"]
    return sorted(found, key=lambda each: bool(each["severity"] != "error"))


def thumbnails(folder: Path) -> list[dict[str, str]]:
    """The middle slice at end-diastole and end-systole with its outlines, as ``data:`` addresses.

    A picture gives itself; without overlays there is none.
    """
    document = read_document(folder) or {}
    slices = int((document.get("study") or {}).get("slices") or 1)
    found = []
    for phase, words in (("ed", "end-diastole"), ("es", "end-systole"), ("phase0", "")):
        held = document.get(f"slices_{phase}") or document.get("slices_ed") or (0, slices - 1)
        image = folder / "overlays" / f"{phase}.png"
        if image.is_file():
            found.append(_thumbnail(image, words, (slices, sum(held) // 2)))
    if not found:
        found = [_thumbnail(path, "", None) for path in sorted(folder.glob("*_overlay.png"))[:1]]
    return [each for each in found if each["image"]]


def _thumbnail(path: Path, words: str, tile: tuple[int, int] | None) -> dict[str, str]:
    """A picture, or one slice of a montage, made small; an empty one if it cannot be read.

    :param tile: slices of the montage, and which.
    """
    from PIL import Image

    from lvseg.write.pictures import tile_box

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError):
        return {"image": "", "words": ""}
    if tile is not None:
        box = tile_box(*tile)
        image = image.crop((box.left, box.top, box.left + box.columns, box.top + box.rows))
        words += f", slice {tile[1]}" if words else f"slice {tile[1]}"
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    file = BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    data = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return {"image": data, "words": words}
