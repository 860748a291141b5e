"""Result files of two installed versions of lvseg, compared byte for byte.

    python benchmarks/compare_versions.py OLD_PYTHON NEW_PYTHON --work FOLDER [--sources ...]

Both interpreters, each with its own lvseg, segment the same sources with every output: the three
DICOM studies, the phantom of the old version and ten pictures, unless others are named. A file is
``same`` when its bytes are; JSON and DICOM that differ are taken apart, and the keys or elements
that differ are listed. What changes from run to run by design is left out: seconds, times of
writing, generated UIDs and the time in HTML.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from provenance import DATA

STUDIES = ("SCD0000101", "SCD0000201", "SCD0000301")
PICTURES = 10
#: Elements of a DICOM object that say when, or by a random number, it was made.
MADE_ANEW = re.compile(r"(UID|Date|Time|DateTime)$")


def run(python: str, *arguments: object) -> None:
    """The command line of one version."""
    call = [python, "-m", "lvseg.cli", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=Path(python).parent)
    if done.returncode:
        sys.exit(f"{' '.join(call)}\n{done.stderr}")


def sources(work: Path, old: str) -> list[Path]:
    """The default sources; the phantom is written by the old version."""
    demo = work / "demo"
    if not demo.exists():
        run(old, "demo", "-o", demo)
    images = sorted((DATA / "sunnybrook" / "images").glob("*.png"))
    picked = [images[int(place)] for place in np.linspace(0, len(images) - 1, PICTURES)]
    studies = [DATA / "sunnybrook-dicom" / name / "dicom" for name in STUDIES]
    return [*studies, demo / "input" / "phantom", *picked]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}[{place}]")
    else:
        yield path, value


def of_json(path: Path) -> dict[str, Any]:
    """Leaves of a JSON file without the seconds."""
    found = dict(leaves(json.loads(path.read_text("utf-8"))))
    return {key: value for key, value in found.items() if not key.startswith(".seconds")}


def of_dicom(path: Path) -> dict[str, Any]:
    """Elements of a DICOM file without those that are made anew each time."""

    def walk(dataset: pydicom.Dataset, prefix: str) -> Iterator[tuple[str, Any]]:
        for element in dataset:
            name = f"{prefix}.{element.keyword or element.tag}"
            if element.VR == "SQ":
                for place, item in enumerate(element.value):
                    yield from walk(item, f"{name}[{place}]")
            elif not MADE_ANEW.search(name):
                yield name, element.value

    return dict(walk(pydicom.dcmread(path), ""))


def of_html(path: Path) -> dict[str, Any]:
    """Lines of a page without numbers of seconds and the time of writing."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?|\d+\.\d+ s\b", "", path.read_text("utf-8"))
    return {f"line {place}": line for place, line in enumerate(text.splitlines())}


READERS = {".json": of_json, ".dcm": of_dicom, ".html": of_html}


def whole(what: str, keys: set[str]) -> Iterator[str]:
    """Keys that only one side has, those below one key of the top level together."""
    groups: dict[str, int] = {}
    for key in keys:
        name = re.split(r"(?<=.)[.\[]", key)[0]
        groups[name] = groups.get(name, 0) + 1
    for name, count in sorted(groups.items()):
        yield f"{what}: {name}" + (f" ({count} values)" if count > 1 else "")


def differences(old: Path, new: Path) -> list[str] | None:
    """What differs between two files; None: the bytes are the same."""
    if old.read_bytes() == new.read_bytes():
        return None
    reader = READERS.get(old.suffix)
    if reader is None:
        return ["bytes"]
    left, right = reader(old), reader(new)
    if old.suffix == ".html":
        steps = difflib.unified_diff([*left.values()], [*right.values()], n=0, lineterm="")
        kinds = Counter(step[0] for step in [*steps][2:])
        lines = f"{kinds['-']} of {len(left)} lines gone, {kinds['+']} new"
        return [lines] if kinds["-"] or kinds["+"] else []
    changed = sorted(key for key in left.keys() & right.keys() if left[key] != right[key])
    return [
        *whole("gone", left.keys() - right.keys()),
        *whole("new", right.keys() - left.keys()),
        *(f"changed: {key}: {left[key]!s:.60} -> {right[key]!s:.60}" for key in changed),
    ]


def main() -> None:
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sources", type=Path, nargs="*")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    given = [path.resolve() for path in options.sources or sources(work, options.old)]
    folders = {name: work / name for name in ("old", "new")}
    for name, folder in folders.items():
        if name == "new" or not folder.exists():
            run(getattr(options, name), "segment", *given, "-o", folder, "--overwrite", "--quiet")
    files = {
        name: {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for name, folder in folders.items()
    }
    for path in sorted(files["old"] ^ files["new"]):
        print(f"{path}: only in {'old' if path in files['old'] else 'new'}")
    counts = {"bytes the same": 0, "same but for times and UIDs": 0, "differ": 0}
    for path in sorted(files["old"] & files["new"]):
        found = differences(folders["old"] / path, folders["new"] / path)
        kind = "bytes the same" if found is None else "differ"
        counts["same but for times and UIDs" if found == [] else kind] += 1
        for line in found or []:
            print(f"{path}: {line}")
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
