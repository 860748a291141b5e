"""`lvseg segment --engine ray`: two workers of Ray, one killed in the middle, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import faulty_workers
import pytest
from command_line import Ended

from lvseg.batch.journal import parse

FORMATS = ("--formats", "nifti,png,contours")
#: Written anew each time: how long it took.
TIMED = {"measurements.json"}


def files(out: Path) -> dict[str, object]:
    """What every file holds, of a manifest what does not tell how long it took."""
    held = [path for path in out.rglob("*/*") if path.is_file() and path.name not in TIMED]
    return {
        str(path.relative_to(out)): json.loads(path.read_text())["result_sha256"]
        if path.name == "manifest.json"
        else path.read_bytes()
        for path in held
    }


@pytest.mark.filterwarnings("ignore")
def test_a_batch_on_ray_survives_a_killed_worker_and_gives_the_bytes_of_the_local_engine(
    phantom_dicom: Path,
    tiny_model: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="missing: the extra ray")
    # workers of Ray find the faulty ones by name
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    sources = [tmp_path / "in" / name for name in ("bad", "good", "third")]
    for source in sources:
        shutil.copytree(phantom_dicom, source)
    places = ("--model", tiny_model, "--jobs", "2", *FORMATS)
    local = lvseg_command("segment", *sources, "-o", tmp_path / "local", *places, "--threads", "1")
    assert local.status == 0, local.err
    monkeypatch.setattr("lvseg.batch.distributed.open_worker", faulty_workers.dying_once)
    ended = lvseg_command("segment", *sources, "-o", tmp_path / "ray", *places, "--engine", "ray")
    assert (ended.status, ended.err) == (0, "")
    assert (tmp_path / "ray" / "died").exists()
    events = parse((tmp_path / "ray" / "journal.jsonl").read_bytes())
    assert Counter(each["study"] for each in events if each["event"] == "start")["bad"] == 2
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert len(files(tmp_path / "ray")) == 3 * 5
    assert [path for path in (tmp_path / "ray").iterdir() if path.name.startswith(".")] == []


def test_ray_that_is_not_installed_says_what_to_install(
    phantom_dicom: Path,
    tiny_model: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    places = ("-o", tmp_path / "out", "--model", tiny_model, "--engine", "ray")
    ended = lvseg_command("segment", phantom_dicom, *places)
    assert ended.status == 2
    assert ended.err.endswith("run pip install 'lvseg[ray]'\n")
