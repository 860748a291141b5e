"""Cross-validation inside the training and validation patients: one model for each fold.

Patients are dealt to folds by pathology; each model is trained on the other folds with the preset
``lv-sax-fold`` and exported to ``WORK/model-K``. Finished folds are kept, a stopped one goes on.
Test patients are left out of the data set of folds altogether.
Usage: ``python benchmarks/folds.py DATASET WORK [--folds 5]``.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import chain
from pathlib import Path

from lvseg.cases import folds as deal_patients
from lvseg.cases import image_path, mask_path, read_manifest, select
from lvseg.datasets.folder import Picture, write_dataset
from lvseg.train.export import export
from lvseg.train.options import read_preset
from lvseg.train.trainer import fit

SEED = 20261122


def deal(dataset: Path, folder: Path, folds: int, expression: str) -> tuple[str, ...]:
    """Make a data set whose splits are the folds of some patients; returns their names.

    :param expression: the splits of ``dataset`` that are dealt anew, joined by '+'.
    """
    names = tuple(f"fold{number}" for number in range(1, folds + 1))
    if not folder.exists():
        cases = select(read_manifest(dataset), expression)
        dealt = chain.from_iterable(deal_patients(cases, folds, seed=SEED))
        pictures = [
            Picture(case, image_path(dataset, case), mask_path(dataset, case)) for case in dealt
        ]
        write_dataset(folder, pictures, layout="folds")
    return names


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = deal(options.dataset, options.work / "dataset", options.folds, "training+validation")
    for number, name in enumerate(names, start=1):
        model = options.work / f"model-{number}"
        if model.exists():
            continue
        others = "+".join(other for other in names if other != name)
        preset = read_preset("lv-sax-fold").model_copy(update={"train_split": others})
        run = options.work / f"run-{number}"
        fit(
            preset,
            options.work / "dataset",
            run,
            resume=True,
            report=partial(print, name, flush=True),
        )
        export(run, model, name=f"lv-sax-{name}")
        print(f"wrote {model}", flush=True)


if __name__ == "__main__":
    main()
