"""Tiny trainings killed (SIGKILL) at random moments and resumed: are they as if nothing happened?

Half of the kills come just before a random operation on a file of the run folder, half after a
random time. After each the checkpoints must be readable; the resumed run must have the weights, the
log and the documents of a run that nobody stopped, byte for byte.
Usage: ``python benchmarks/training_kills.py [--kills 50]``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from provenance import ROOT, save

sys.path.insert(0, str(ROOT / "tests" / "train"))

import kill_maker
from train_maker import make_dataset, tiny_options

from lvseg.errors import LvsegError
from lvseg.train import checkpoint

SEED = 5
#: What a run leaves that must be the same.
FILES = ("best.json", "best.safetensors", "last.json", "last.safetensors", "log.csv")


def usable(run: Path) -> bool:
    """Whether every checkpoint whose two files are there can be read."""
    try:
        for name in ("last", "best"):
            if (run / f"{name}.json").is_file():
                checkpoint.read_options(run, name)
    except LvsegError:
        return False
    return True


def main() -> None:
    """Kill, resume, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    kills = parser.parse_args().kills
    options = tiny_options(epochs=3, validation_split="validation", validate_every=1)
    drawn = random.Random(SEED)
    counts = {"tried": 0, "killed": 0, "usable": 0, "equal": 0}
    with tempfile.TemporaryDirectory() as scratch:
        dataset = make_dataset(Path(scratch) / "data")
        kill_maker.train(options, dataset, Path(scratch) / "warm")  # starts the server
        straight = Path(scratch) / "straight"
        start = time.perf_counter()
        operations = kill_maker.train(options, dataset, straight).sent
        seconds = time.perf_counter() - start
        wanted = {name: (straight / name).read_bytes() for name in FILES}
        while counts["killed"] < kills:
            run = Path(scratch) / f"run-{counts['tried']}"
            if counts["tried"] % 2:
                how = {"kill_after_s": drawn.uniform(0, seconds)}
            else:
                how = {"kill_at": drawn.randint(2, operations)}
            counts["tried"] += 1
            if not kill_maker.train(options, dataset, run, **how).killed:
                continue  # it was quicker
            counts["killed"] += 1
            counts["usable"] += usable(run)
            kill_maker.train(options, dataset, run)
            counts["equal"] += all((run / name).read_bytes() == wanted[name] for name in FILES)
    protocol = "tiny trainings of three epochs, killed once each, resumed, compared byte for byte"
    save("training-kills", protocol, {"operations": operations, **counts}, seed=SEED)


if __name__ == "__main__":
    main()
