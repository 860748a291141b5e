"""What every result file says about where its numbers come from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("LVSEG_DATA", ROOT.parent / "shared" / "data"))
LIBRARIES = ("lvseg", "numpy", "scipy", "onnxruntime", "openvino", "pydicom", "torch", "monai")


def machine() -> dict[str, Any]:
    """The class of machine: processor family, usable cores, memory, system."""
    processor = platform.processor() or platform.machine()
    cpuinfo, memory_gb = Path("/proc/cpuinfo"), None
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
        processor = ", ".join(sorted(names)) or processor
        memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
        memory_gb = round(memory_kb / 2**20)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor,
        "cores": cores,
        "memory_gb": memory_gb,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit measured, with ``+changes`` when the tree differs from it."""
    try:
        run = lambda *words: subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        return run("rev-parse", "--short", "HEAD") + (
            "+changes" if run("status", "--porcelain", "--", "src") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def display_argument(argument: str) -> str:
    """An argument as another machine can repeat it: folders by what they are, not where."""
    if (Path(argument) / "manifest.csv").is_file():
        return "DATASET"
    if Path(argument).is_dir():
        return "WORK"
    return Path(argument).name if Path(argument).is_file() else argument


def own_peak_mb() -> float:
    """Peak memory of this process; ``getrusage`` would count the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def save(name: str, protocol: str, result: dict[str, Any], *, seed: int | None = None) -> Path:
    """Write ``results/<name>.json`` with the header on top."""
    arguments = " ".join([Path(sys.argv[0]).name, *map(display_argument, sys.argv[1:])])
    document = {
        "command": f"python benchmarks/{arguments}",
        "protocol": protocol,
        "seed": seed,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        **result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(f"wrote {path.relative_to(ROOT)}")
    return path
