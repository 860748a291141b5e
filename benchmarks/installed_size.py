"""Installed size of the package in a fresh environment, and the seconds of ``lvseg demo`` there.

Usage: ``python benchmarks/installed_size.py [--extra openvino]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import ROOT, save


def megabytes(folder: Path) -> float:
    """Size of every file below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def main() -> None:
    """Install, run the demo twice, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", default="")
    extra = parser.parse_args().extra
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch) / "venv"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        before = megabytes(environment)
        target = f"{ROOT}[{extra}]" if extra else str(ROOT)
        start = time.perf_counter()
        subprocess.run(
            [environment / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints.txt", target],
            check=True,
        )
        installed_s = time.perf_counter() - start
        size_mb = megabytes(environment) - before
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([environment / "bin" / "lvseg", "demo", "--quiet"], check=True)
            seconds.append(round(time.perf_counter() - start, 2))
        listed = subprocess.run(
            [environment / "bin" / "pip", "list", "--format", "freeze"],
            check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
    result = {
        "extra": extra or None,
        "installed_mb": round(size_mb, 1),
        "install_s": round(installed_s, 1),
        "demo_s": seconds,
        "packages": listed,
    }
    protocol = "fresh virtual environment, pip install with constraints.txt, then three demos"
    save(f"installed-size{'-' + extra if extra else ''}", protocol, result)


if __name__ == "__main__":
    main()
