"""Other people's programs that judge our files, and the studies they get to see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from enhanced_export import write_enhanced_cine
from lvseg.cine import Cine, Mask
from lvseg.geometry import Grid
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine

#: Without these DCMTK waits 40 ms for each image (delayed acknowledgement), on both sides.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def tool(name: str, package: str) -> str:
    """Where a program of a Debian package is; fails in CI and skips elsewhere without it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} (Debian package {package}) is missing in CI")
    if found is None:
        pytest.skip(f"missing: {name} (Debian package {package})")
    return found


def told(*command: str | Path) -> tuple[int, list[str]]:
    """Exit code and lines of a program, both streams."""
    done = subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace").splitlines()


@dataclass(frozen=True)
class Orthanc:
    """A server of our own on this machine."""

    http_port: int
    dicom_port: int

    def get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def send(self, *paths: Path) -> None:
        """C-STORE of files, or of everything in folders."""
        storescu = tool("storescu", "dcmtk")
        address = ("127.0.0.1", str(self.dicom_port))
        code, lines = told(
            storescu, "-v", "-R", "-aec", "ORTHANC", "+sd", "+r", *address, *map(str, paths)
        )
        assert code == 0, lines
        answers = [line for line in lines if "Received Store Response" in line]
        assert answers
        assert all("(Success)" in line for line in answers), answers

    def instances(self) -> dict[str, str]:
        """SOP Instance UID -> Orthanc's own name of it, for all it holds."""
        listed = self.json("/instances?expand")
        return {entry["MainDicomTags"]["SOPInstanceUID"]: entry["ID"] for entry in listed}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Debian's Orthanc with its store in a folder, for as long as the block runs."""
    program = tool("Orthanc", "orthanc")
    server = Orthanc(_free_port(), _free_port())
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "SyncStorageArea": False,
        "SaveJobs": False,
        "Plugins": [],
    }
    (folder / "store").mkdir()
    (folder / "orthanc.json").write_text(json.dumps(config))
    log = folder / "orthanc.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")],
            env=ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(server, process, log)
        yield server
    finally:
        process.kill()  # its store is thrown away: no need to close it in order
        process.wait(timeout=30)


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            server.get("/system")
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Orthanc did not answer:\n{log.read_text()}")


# --- phantoms ------------------------------------------------------------------------------------

_SMALL = PhantomOptions(
    phases=5,
    slices=8,
    rows=84,
    columns=72,
    pixel_spacing_mm=(2.1, 2.3),
    thickness_mm=8.0,
    gap_mm=5.0,
)


def _classic(cine: Cine, folder: Path) -> None:
    write_dicom_cine(cine, folder)


def _enhanced(cine: Cine, folder: Path) -> None:
    write_enhanced_cine(cine, folder)


def _shuffled(cine: Cine, folder: Path) -> None:
    """File names, instance numbers and slice order that say nothing, and a slice cut short."""
    paths = list(write_dicom_cine(cine, folder))
    order = np.random.default_rng(7).permutation(len(paths))
    for place, path in zip(order, paths, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = int(place) + 1
        dataset.save_as(folder / f"image-{place:03d}")
        path.unlink()
    last = max(folder.iterdir(), key=lambda p: float(pydicom.dcmread(p).SliceLocation))
    last.unlink()


def _odd(cine: Cine, folder: Path) -> None:
    """Tags as bad archives leave them: no names, no ids, no frame of reference, broken UIDs."""
    for path in write_dicom_cine(cine, folder):
        dataset = pydicom.dcmread(path)
        for keyword in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"),
            *("StudyDate", "StudyTime", "ReferringPhysicianName", "AccessionNumber"),
            *("FrameOfReferenceUID", "PositionReferenceIndicator", "SpecificCharacterSet"),
            *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
            *("SeriesNumber", "SeriesDescription", "SliceThickness", "SpacingBetweenSlices"),
            *("TemporalPositionIdentifier", "NumberOfTemporalPositions"),
        ):
            if keyword in dataset:
                delattr(dataset, keyword)
        number = int(dataset.InstanceNumber)
        with pydicom.config.disable_value_validation():
            dataset.SOPInstanceUID = f"1.2.3.4.{number}.00{number}"
            dataset.SeriesInstanceUID = "1.2.3.4.5.077"
            dataset.StudyInstanceUID = "1.2.3.4.5.06"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.save_as(path)


@dataclass(frozen=True)
class Kind:
    """A phantom, how many phases and which slices of it are kept, and how it gets to disk."""

    options: PhantomOptions
    phases: int | None = None
    slices: tuple[int, int] | None = None
    write: Callable[[Cine, Path], None] = _classic


PHANTOMS = {
    "plain": Kind(_SMALL),
    "tilted": Kind(replace(_SMALL, tilt_degrees=(17.0, -9.0, 14.0), seed=1)),
    "gapped": Kind(replace(_SMALL, thickness_mm=5.0, gap_mm=9.0, slices=7, seed=2)),
    "anisotropic": Kind(replace(_SMALL, pixel_spacing_mm=(1.4, 2.9), rows=120, columns=58, seed=3)),
    "enhanced": Kind(replace(_SMALL, tilt_degrees=(0.0, 12.0, -5.0), seed=4), write=_enhanced),
    "missing-slices": Kind(replace(_SMALL, missing_slices=(2, 5), seed=5)),
    "odd-tags": Kind(replace(_SMALL, seed=6), write=_odd),
    "two-slices": Kind(replace(_SMALL, seed=7), slices=(2, 4)),
    "two-phases": Kind(replace(_SMALL, seed=8), phases=2),
    "shuffled-short": Kind(
        replace(_SMALL, tilt_degrees=(-8.0, 0.0, 30.0), seed=9), write=_shuffled
    ),
}


def write_phantom(name: str, folder: Path) -> Mask:
    """Write a phantom as DICOM; returns its true mask, slices from apex to base."""
    kind = PHANTOMS[name]
    cine, mask, _ = beating_ventricle(kind.options)
    first, last = kind.slices or (0, cine.shape[1])
    phases = kind.phases or cine.shape[0]
    assert cine.planes is not None
    assert cine.times_ms is not None
    frames = cine.frames[:phases, first:last]
    kept = replace(
        cine,
        frames=frames,
        grid=Grid.of(frames, planes=cine.planes[first:last], complete=cine.complete),
        times_ms=cine.times_ms[:phases],
    )
    kind.write(kept, folder)
    return Mask(mask.labels[:phases, first:last], tuple(range(phases)), grid=kept.grid)


def on_grid(truth: Mask, cine: Cine) -> Mask:
    """The true mask on the slices of the cine that was read back, found by their place."""
    assert truth.planes is not None
    assert cine.planes is not None
    origins = np.array([plane.origin_mm for plane in truth.planes])
    picked = []
    for plane in cine.planes:
        distances_mm = np.linalg.norm(origins - np.asarray(plane.origin_mm), axis=1)
        assert distances_mm.min() < 0.01
        picked.append(int(distances_mm.argmin()))
    return Mask(truth.labels[:, picked], tuple(range(cine.shape[0])), grid=cine.grid)


def differences(one: pydicom.Dataset, other: pydicom.Dataset) -> list[str]:
    """Elements that differ between two datasets, pixel bytes included."""
    tags = sorted(set(one.keys()) | set(other.keys()))
    return [str(tag) for tag in tags if one.get(tag) != other.get(tag)]
