"""Run the paper's ladder and keep its figures: python benchmarks/paper.py DATASET WORK

    python benchmarks/paper.py dataset paper             # two processor cores, under two hours
    python benchmarks/paper.py dataset paper --scale paper    # the paper's own size, a GPU

DATASET is made by  lvseg prepare; WORK is the folder of the ladder: the same command goes on with a
stopped run. Writes results/paper-<scale>.json; report, curves and pictures stay in WORK.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from provenance import save

from lvseg.reproduction.ladder import SCALES
from lvseg.reproduction.run import SEED, reproduce
from lvseg.reproduction.tables import tables

PROTOCOL = (
    "One run of every step, weights of its last epoch; Dice and Jaccard of every picture with a "
    "cavity on its own grid, mean over pictures, intervals bootstrapped by patient; split by image "
    "as the paper (leaks) and by patient (official sets: training, validation, online); every step "
    "scored once on each; nothing chosen by the test patients"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scale", choices=[*SCALES], default="small")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    document = reproduce(
        options.dataset,
        options.work,
        SCALES[options.scale],
        device=options.device,
        note=lambda text: print(text, flush=True),
    )
    for table in tables(document):
        print(
            f"\n{table.title}", *(" | ".join(row) for row in (table.header, *table.rows)), sep="\n"
        )
    processor = sum(each["processor"] for each in document["seconds"].values())
    libraries = document.pop("versions")  # the header has them
    result = {**document, "pillow": libraries["pillow"], "core_hours": round(processor / 3600, 2)}
    result.pop("seed")
    save(f"paper-{options.scale}", PROTOCOL, result, seed=SEED)


if __name__ == "__main__":
    main()
