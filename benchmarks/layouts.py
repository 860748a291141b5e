"""How studies may be laid out, and what becomes of each: layouts tried, equal, refused, wrong.

Each layout is written, read and judged in patient space (``tests/layouts``): every oddity alone,
every pair of oddities with ``--pairs``, and random layouts with up to five. Writes
``results/layouts.json`` and ``docs/layouts.md``.
Usage: ``python benchmarks/layouts.py --layouts 100000 --seed 1 [--minutes 15] [--pairs]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

from provenance import RESULTS, ROOT, save

sys.path.extend(str(ROOT / "tests" / name) for name in ("layouts", "unit"))

from layout_encoding import NOT_WRITTEN
from layout_model import (
    AXIS_ORDERS,
    DicomLayout,
    Layout,
    NiftiLayout,
    axes_of,
    draw,
    odd_values,
    pairs,
    singles,
)
from layout_oracle import Judged, try_layout
from layout_outcome import SHOWN, Outcome
from layout_rules import best_of

NAME = "layouts"
PAGE = ROOT / "docs" / "layouts.md"
KINDS: tuple[type[Layout], ...] = (DicomLayout, NiftiLayout)
KEYS = {
    Outcome.EQUAL: "equal",
    Outcome.FINDING: "equal_with_finding",
    Outcome.NO_VOLUMES: "no_volumes",
    Outcome.REFUSED: "refused",
    Outcome.WRONG: "wrong",
}
HEAD = """# Layouts: how a study may be written, and what lvseg does

A scanner, an archive, an anonymiser or a converter may write the same cine in many ways. A
generator in `tests/layouts` writes a known cine in these ways, alone and together. What
`lvseg.read_study` gives is compared with it **in patient space**: every pixel where it was, with
its grey value, the phases in order, the times as stated.

The law: a cine that can be measured is the true one, and what cannot be read is refused by name
(exit code 3).
"""
#: Head of the tables.
COLUMNS = ("what", "written so", "alone", "findings", "among others: tried, equal, not measured")


def label(layout: Layout) -> str:
    """A layout in words: its kind, and what is odd about it."""
    odd = "; ".join(f"{name}: {words(value)}" for name, value in odd_values(layout).items())
    return f"{layout.kind}: {odd or 'ordinary'}"


def words(value: Any) -> str:
    """The value of an axis as people read it."""
    if isinstance(value, tuple):
        if value and isinstance(value[0], tuple):
            order, signs = value
            return " ".join(
                f"{'-' if sign < 0 else '+'}{'xyz'[axis]}"
                for axis, sign in zip(order, signs, strict=True)
            )
        return " + ".join(value) or "nothing"
    return str(value)


def alone() -> dict[str, dict[str, Any]]:
    """What becomes of every oddity by itself."""
    result = {}
    for kind in KINDS:
        for layout in singles(kind, seed=3):
            found = try_layout(layout, listed=True)
            result[label(layout)] = {"outcome": KEYS[found.outcome], "findings": list(found.codes)}
    return result


def drawn(layouts: int, seed: int, minutes: float | None, all_pairs: bool) -> Iterator[Layout]:
    """The layouts of a run."""
    end = None if minutes is None else monotonic() + 60 * minutes
    if all_pairs:
        for kind in KINDS:
            yield from pairs(kind, seed=seed)
    rng = random.Random(seed)
    for _ in range(layouts):
        if end is not None and monotonic() > end:
            return
        yield draw(rng.choice)


class Tally:
    """Counts of a run: in all, by oddity, and what was wrong."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.by_oddity: dict[str, Counter[str]] = {}
        self.less_than_alone = 0
        self.wrong: list[dict[str, Any]] = []
        self.seen = set[Layout]()

    def add(self, layout: Layout, found: Judged) -> None:
        """Count one layout."""
        self.seen.add(layout)
        key = KEYS[found.outcome]
        self.counts[key] += 1
        self.less_than_alone += Outcome.WRONG > found.outcome > best_of(layout)
        for name, value in odd_values(layout).items():
            shown = "any order" if name == "axes" else words(value)
            oddity = f"{layout.kind}: {name}: {shown}"
            self.by_oddity.setdefault(oddity, Counter())[key] += 1
        if found.outcome is Outcome.WRONG and len(self.wrong) < 200:
            told = {"layout": label(layout), "seed": layout.seed, "detail": found.detail[-300:]}
            self.wrong.append(told)

    def document(self) -> dict[str, Any]:
        """As the result file has it."""
        full = lambda counts: {key: counts[key] for key in KEYS.values()}
        return {
            "layouts_tried": self.counts.total(),
            "different_layouts": len(self.seen),
            "counts": full(self.counts),
            "read_less_well_than_each_oddity_alone": self.less_than_alone,
            "by_oddity": {name: full(self.by_oddity[name]) for name in sorted(self.by_oddity)},
            "wrong": self.wrong,
        }


def saved() -> dict[str, Any]:
    """The result of the last run."""
    result: dict[str, Any] = json.loads((RESULTS / f"{NAME}.json").read_text("utf-8"))
    return result


def page(result: dict[str, Any]) -> str:
    """docs/layouts.md for a result."""
    counts = result["counts"]
    total = result["layouts_tried"]
    lines = [HEAD, "## How many were tried\n"]
    lines.append(
        f"{total:,} layouts ({result['different_layouts']:,} different ones), each with up to five "
        "oddities at once:\n"
    )
    lines += ["| what came of it | layouts | share |", "| --- | ---: | ---: |"]
    for outcome, key in KEYS.items():
        share = 100 * counts[key] / max(total, 1)
        lines.append(f"| {SHOWN[outcome]} | {counts[key]:,} | {share:.1f} % |")
    lines.append(
        f"\n{result['read_less_well_than_each_oddity_alone']:,} of them were read less well than "
        "each of their oddities alone would be: refused, or without volumes.\n"
    )
    lines.append("Not tried: " + "; ".join(NOT_WRITTEN) + ".\n")
    for kind, title in ((DicomLayout, "DICOM"), (NiftiLayout, "NIfTI")):
        lines += table(kind, title, result)
    lines.append(
        "\nThis page is written by `python benchmarks/layouts.py`; its figures are those of "
        "[layouts.json](../benchmarks/results/layouts.json).\n"
    )
    return "\n".join(lines)


def table(kind: type[Layout], title: str, result: dict[str, Any]) -> Iterator[str]:
    """The rows of one kind: each oddity, what becomes of it alone, and among others."""
    shown = {KEYS[outcome]: text for outcome, text in SHOWN.items()}
    yield f"\n## {title}\n"
    usual = "; ".join(
        f"{name.replace('_', ' ')} {words(values[0])}" for name, values in axes_of(kind).items()
    )
    yield f"Ordinary: {usual}.\n"
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| --- | --- | --- | --- | --- |"
    for name, values in axes_of(kind).items():
        if name == "axes":
            orders = [result["singles"][label(one)] for one in singles(kind) if odd(one, name)]
            outcomes = " or ".join(sorted({shown[each["outcome"]] for each in orders}))
            text = f"all {len(AXIS_ORDERS)} orders and directions"
            counts = result["by_oddity"].get(f"{kind.kind}: axes: any order", {})
            yield row(name, text, outcomes, [], counts)
            continue
        for value in values[1:]:
            found = result["singles"][f"{kind.kind}: {name}: {words(value)}"]
            counts = result["by_oddity"].get(f"{kind.kind}: {name}: {words(value)}", {})
            yield row(name, words(value), shown[found["outcome"]], found["findings"], counts)


def odd(layout: Layout, name: str) -> bool:
    """Whether a layout differs from the ordinary one on an axis."""
    return name in odd_values(layout)


def row(name: str, value: str, outcome: str, findings: list[str], counts: dict[str, int]) -> str:
    """One row of a table."""
    codes = ", ".join(f"`{code}`" for code in findings if code != "phase-order")
    equal = counts.get("equal", 0) + counts.get("equal_with_finding", 0)
    safe = counts.get("refused", 0) + counts.get("no_volumes", 0)
    told = f"{sum(counts.values()):,}, {equal:,}, {safe:,}"
    return f"| {name.replace('_', ' ')} | {value} | {outcome} | {codes} | {told} |"


def main() -> None:
    """Try, count and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=None, help="stop after so many")
    parser.add_argument("--pairs", action="store_true", help="all pairs of oddities as well")
    parser.add_argument("--page", action="store_true", help="write the page from the result alone")
    options = parser.parse_args()
    if not options.page:
        tally, started = Tally(), monotonic()
        for layout in drawn(options.layouts, options.seed, options.minutes, options.pairs):
            found = try_layout(layout, listed=layout.seed % 8 == 0)
            tally.add(layout, found)
            seconds = f"{monotonic() - started:.0f} s"
            if found.outcome is Outcome.WRONG:
                print(f"wrong after {seconds}: {layout} {found.detail[:300]}", flush=True)
            if tally.counts.total() % 500 == 0:
                print(tally.counts.total(), dict(tally.counts), seconds, flush=True)
        result = {"singles": alone(), **tally.document(), "seconds": round(monotonic() - started)}
        protocol = "write, read, compare in patient space; see docs/layouts.md"
        save(NAME, protocol, result, seed=options.seed)
    PAGE.write_text(page(saved()), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
