"""How long listing takes: 20,000 DICOM files of 50 studies, and a real study, beside pydicom.

The files are a phantom's, written 50 times under other UIDs. Three runs in turn: ``list_series``,
and pydicom alone reading of each header no more than the elements that lvseg wants.
Usage: ``python benchmarks/list_time.py [--studies 50]``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pydicom
from provenance import DATA, save

from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.read import headers, list_series

RUNS = 3


def write_studies(folder: Path, studies: int) -> None:
    """Write the phantom so many times, each time as another study."""
    options = PhantomOptions(phases=25, slices=16, rows=64, columns=64)
    first = write_dicom_cine(beating_ventricle(options)[0], folder / "s00")
    images = [pydicom.dcmread(path) for path in first]
    for study in range(1, studies):
        own = folder / f"s{study:02d}"
        own.mkdir()
        for number, image in enumerate(images):
            image.StudyInstanceUID = f"2.25.{1000 + study}"
            image.SeriesInstanceUID = f"2.25.{2000 + study}"
            image.FrameOfReferenceUID = f"2.25.{3000 + study}"
            image.SOPInstanceUID = f"2.25.{4000 + study}.{number}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(own / f"{number}.dcm")


def by_pydicom(folder: Path) -> None:
    """Read the wanted elements of every header."""
    for path in folder.rglob("*.dcm"):
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(headers.WANTED))


def seconds(work: Callable[[], Any]) -> float:
    """Of one call."""
    began = perf_counter()
    work()
    return perf_counter() - began


def judge(folder: Path) -> dict[str, Any]:
    """Least of the runs of both, in ms a file."""
    files = sum(1 for _ in folder.rglob("*.dcm"))
    pairs = [
        (seconds(lambda: list_series(folder)), seconds(lambda: by_pydicom(folder)))
        for _ in range(RUNS)
    ]
    ours, theirs = (1000 * min(times) / files for times in zip(*pairs, strict=True))
    return {
        "files": files,
        "list_ms_a_file": round(ours, 3),
        "pydicom_headers_ms_a_file": round(theirs, 3),
        "ratio": round(ours / theirs, 3),
    }


def main() -> None:
    """Time both, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write_studies(Path(temporary), options.studies)
        result = {f"{options.studies}_studies": judge(Path(temporary))}
    result["SCD0000101"] = judge(DATA / "sunnybrook-dicom" / "SCD0000101")
    print(result)
    save("list-time", __doc__.split("\n\n")[1].replace("\n", " "), result)


if __name__ == "__main__":
    main()
