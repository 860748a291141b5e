"""Installed size of the package in a fresh environment, and the seconds of ``lvseg demo`` there.

The environment is that of the README's first command, its extras included.
Usage: ``python benchmarks/installed_size.py [--extra NAME]``; ``--extra`` measures another.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import ROOT, save


def megabytes(folder: Path) -> float:
    """Size of every file below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def extra_of_the_readme() -> str:
    """Extras that the README's first command installs, as pip takes them; none: an empty text."""
    first = re.search(r"^ {4}(.*pip install .*)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    found = None if first is None else re.search(r"'?\.(?:\[([\w,]+)\])?'?( |$)", first[1])
    if found is None:
        raise SystemExit("expected a first command in README.md that installs this package")
    return found[1] or ""


def main() -> None:
    """Install, run the demo three times, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra")
    wanted = parser.parse_args().extra
    extra = extra_of_the_readme() if wanted is None else wanted
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
    save(
        "installed-size" if wanted is None else f"installed-size-{extra or 'bare'}",
        protocol,
        result,
    )


if __name__ == "__main__":
    main()
