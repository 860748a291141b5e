"""Batches of ``lvseg segment``: two workers against one, studies an hour, memory, kills survived.

- pairs: copies of a real study, ``--jobs 2`` and, one after the other, ``--jobs 1`` (which has all
  cores) in turn; the ratio of each pair. Once besides: a command for each copy.
- many: phantom studies in one batch; the memory of all its processes together (proportional set
  size), looked at twice a second.
- kills: a batch of phantoms is killed (SIGKILL) at a random moment and given again; half of the
  tries replace an earlier result. A try is survived if every file is then the one of a batch that
  nobody killed (but for seconds, times of writing and random UIDs), and nothing else is left.

- workers: the same batch on Ray (and here), of which one worker is killed at a random moment.

Usage: ``python benchmarks/batch.py [--copies 24] [--rounds 3] [--studies 500] [--kills 100]
[--ray-kills 20] [--worker-kills 20]``; 0 leaves a part out. Small sizes are for a trial:
``--copies 4 --rounds 1 --studies 10 --kills 5 --worker-kills 2 --ray-kills 1``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compare_versions import differences
from provenance import DATA, save

from lvseg.batch.journal import parse
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine

SEED = 16
#: Different phantoms; a batch of more takes them in turn.
PHANTOMS = 5
#: Studies of a batch that is killed.
KILLED_STUDIES = 4
#: What makes all runs of a batch that is killed alike: workers, and threads of each.
FIXED = ("--jobs", "2", "--threads", "1")
#: Seconds between two looks at the memory.
LOOK_S = 0.5


def start(sources: Sequence[Path], out: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    call = [sys.executable, "-m", "lvseg.cli", "segment", *map(str, sources), "-o", str(out)]
    return subprocess.Popen([*call, "--quiet", *options], stdout=subprocess.DEVNULL)


def finished(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that must end well."""
    if process.wait():
        raise SystemExit(f"{process.args} ended with status {process.returncode}")


def pairs(copies: int, rounds: int, work: Path) -> dict[str, Any]:
    """Seconds of both ways to do the same studies, in turn."""
    sources = [DATA / "sunnybrook-dicom" / "SCD0000101" / "dicom"] * copies
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(rounds):
        for jobs in sorted(seconds, reverse=bool(number % 2)):
            out = work / f"jobs-{jobs}"
            began = time.perf_counter()
            finished(start(sources, out, "--jobs", jobs))
            seconds[jobs].append(time.perf_counter() - began)
            shutil.rmtree(out)
    began = time.perf_counter()
    for number, source in enumerate(sources):
        finished(start([source], work / f"alone-{number}"))
        shutil.rmtree(work / f"alone-{number}")
    alone = time.perf_counter() - began
    ratios = [two / one for one, two in zip(seconds["1"], seconds["2"], strict=True)]
    return {
        "copies": copies,
        "seconds_one_worker": [round(each, 1) for each in seconds["1"]],
        "seconds_two_workers": [round(each, 1) for each in seconds["2"]],
        "seconds_a_command_each": round(alone, 1),
        "ratios": [round(each, 3) for each in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }


def tree(process: int) -> list[int]:
    """A process and all that it started."""
    found, waiting = [], [process]
    while waiting:
        each = waiting.pop()
        found.append(each)
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def memory_mb(process: int) -> float:
    """Memory of a process and all that it started, shared pages counted once."""
    kilobytes = 0
    for each in tree(process):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


def phantoms(folder: Path, options: PhantomOptions) -> list[Path]:
    """Phantom studies that differ in size of heart and in identity."""
    made = []
    for number in range(PHANTOMS):
        cine, _, _ = beating_ventricle(options)
        made.append(folder / f"phantom-{number}")
        write_dicom_cine(cine, made[-1], seed=number)
    return made


def many(studies: int, work: Path) -> dict[str, Any]:
    """One large batch with the jobs that lvseg chooses."""
    made = phantoms(work / "many", PhantomOptions())
    sources = list(itertools.islice(itertools.cycle(made), studies))
    began = time.perf_counter()
    process = start(sources, work / "out-many")
    looks: list[float] = []
    while process.poll() is None:
        looks.append(memory_mb(process.pid))
        time.sleep(LOOK_S)
    finished(process)
    seconds = time.perf_counter() - began
    events = parse((work / "out-many" / "journal.jsonl").read_bytes())
    done = sum(each["event"] == "done" for each in events)
    shutil.rmtree(work / "out-many")
    quarter = max(1, len(looks) // 4)
    quarters = [max(looks[at * quarter : (at + 1) * quarter], default=0.0) for at in range(4)]
    return {
        "studies": studies,
        "done": done,
        "seconds": round(seconds, 1),
        "studies_an_hour": round(3600 * done / seconds),
        "peak_memory_mb": round(max(looks), 1),
        "peak_memory_mb_by_quarter": [round(each, 1) for each in quarters],
    }


def table(path: Path) -> list[dict[str, str]]:
    """The cohort table without the seconds."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def faults(expected: Path, found: Path) -> list[str]:
    """What is not as in the batch that nobody killed."""
    files = [
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        for root in (expected, found)
    ]
    told = [f"{name}: only in one" for name in sorted(files[0] ^ files[1])]
    for name in sorted(files[0] & files[1] - {"journal.jsonl", "cohort.csv"}):
        told += [f"{name}: {each}" for each in differences(expected / name, found / name) or []]
    if table(expected / "cohort.csv") != table(found / "cohort.csv"):
        told.append("cohort.csv")
    return told


class Whole:
    """A batch of small phantoms that nobody killed, and how long it took."""

    def __init__(self, work: Path) -> None:
        small = PhantomOptions(
            phases=6,
            slices=6,
            rows=128,
            columns=120,
            pixel_spacing_mm=(1.9, 1.7),
            thickness_mm=13.0,
        )
        self.work = work
        self.sources = phantoms(work / "small", small)[:KILLED_STUDIES]
        self.out = work / "whole"
        began = time.perf_counter()
        finished(start(self.sources, self.out, *FIXED))
        self.seconds = time.perf_counter() - began


def kills(tries: int, whole: Whole) -> dict[str, Any]:
    """Kill at random moments, give the same command again, compare."""
    rng = random.Random(SEED)
    moments, not_survived = [], []
    for number in range(tries):
        out = whole.work / f"try-{number}"
        again = [*FIXED, *(["--overwrite"] if number % 2 else [])]
        if number % 2:
            shutil.copytree(whole.out, out)
        process = start(whole.sources, out, *again)
        moment = rng.uniform(0, whole.seconds)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        moments.append(round(moment / whole.seconds, 2) if killed else None)
        if killed:
            finished(start(whole.sources, out, *again))
        told = faults(whole.out, out)
        if told:
            not_survived.append({"try": number, "found": told[:5]})
        shutil.rmtree(out)
    return {
        "tries": tries,
        "killed_before_the_end": sum(each is not None for each in moments),
        "survived": tries - len(not_survived),
        "not_survived": not_survived,
        "moments_of_the_whole": moments,
        "seconds_of_the_whole": round(whole.seconds, 1),
    }


def workers_of(process: int) -> list[int]:
    """Worker processes of a batch, here or on a Ray that it started."""
    found = []
    for each in tree(process)[1:]:
        try:
            call = Path(f"/proc/{each}/cmdline").read_bytes()
        except OSError:
            continue
        if call.startswith(b"ray::_Actor") or b"spawn_main" in call:
            found.append(each)
    return found


def worker_kills(tries: int, whole: Whole, engine: str) -> dict[str, Any]:
    """Kill one worker of each batch at a random moment of its work, compare."""
    rng = random.Random(SEED)
    not_survived, killed = [], 0
    for number in range(tries):
        out = whole.work / f"worker-{number}"
        process = start(whole.sources, out, *FIXED, "--engine", engine)
        while process.poll() is None and not workers_of(process.pid):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, whole.seconds))
        found = workers_of(process.pid)
        if found:
            os.kill(rng.choice(found), signal.SIGKILL)
            killed += 1
        finished(process)
        told = faults(whole.out, out)
        if told:
            not_survived.append({"try": number, "found": told[:5]})
        shutil.rmtree(out)
    return {
        "tries": tries,
        "killed_before_the_end": killed,
        "survived": tries - len(not_survived),
        "not_survived": not_survived,
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--ray-kills", type=int, default=20)
    parser.add_argument("--trial", action="store_true", help="print, save nothing")
    options = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # the command decides
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.copies and options.rounds:
            result["pairs"] = pairs(options.copies, options.rounds, work)
        if options.studies:
            result["many"] = many(options.studies, work)
        if options.kills or options.worker_kills or options.ray_kills:
            whole = Whole(work)
        if options.kills:
            result["kills"] = kills(options.kills, whole)
        if options.worker_kills:
            result["worker_kills"] = worker_kills(options.worker_kills, whole, "local")
        if options.ray_kills:
            result["ray_kills"] = worker_kills(options.ray_kills, whole, "ray")
    if options.trial:
        print(result)
        return
    protocol = "whole processes, default engine, model and outputs; see benchmarks/batch.py"
    save("batch", protocol, result, seed=SEED)


if __name__ == "__main__":
    main()
