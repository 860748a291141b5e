"""The protocols of the accuracy page: train where needed, judge the patients held out, keep rows.

P1 trains on the official training patients and judges validation and online patients; P2 trains on
training and validation and judges online; P3 is a cross-validation over all patients, folds
balanced by pathology. A finished model is kept and a stopped training goes on. Every picture is
judged full frame, all contours, by ``lvseg evaluate``: alone, and with the heart found on all
pictures of its patient (``--by-patient``). ``--train`` stops before any patient is judged.
Usage: ``python benchmarks/protocols.py DATASET WORK p1|p2|p3 [--preset NAME] [--train]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from folds import SEED, deal
from header import save

from lvseg import evaluate as judging
from lvseg.predict import load_model
from lvseg.train.export import export
from lvseg.train.options import read_preset
from lvseg.train.trainer import fit

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Part:
    """One model of a protocol: the data set, what teaches it, and whom it is judged on."""

    name: str
    dataset: Path
    taught: str
    judged: str


def parts(protocol: str, dataset: Path, work: Path) -> tuple[Part, ...]:
    """The models that a protocol needs."""
    if protocol == "p1":
        return (Part("p1", dataset, "training", "validation+online"),)
    if protocol == "p2":
        return (Part("p2", dataset, "training+validation", "online"),)
    folder = work / "dataset"
    names = deal(dataset, folder, FOLDS, "training+validation+online")
    return tuple(
        Part(f"p3-{name}", folder, "+".join(other for other in names if other != name), name)
        for name in names
    )


def trained(part: Part, preset: str, work: Path) -> Path:
    """The model of a part; trained if it is not there."""
    model = work / f"{part.name}-model"
    if not model.exists():
        options = read_preset(preset).model_copy(update={"train_split": part.taught})
        report = partial(print, part.name, flush=True)
        run = fit(options, part.dataset, work / f"{part.name}-run", resume=True, report=report)
        export(run, model, name=f"{preset}-{part.name}")
    return model


def judged(part: Part, model: Path, by_patient: bool, work: Path) -> judging.Evaluation:
    """The patients held out from a part; no patient of theirs may have taught the model."""
    found = judging.evaluate(
        part.dataset, part.judged, load_model(model), by_patient=by_patient, seed=SEED
    )
    if found.leaked_patients:
        raise SystemExit(f"{part.name}: the model was taught {', '.join(found.leaked_patients)}")
    return found


def together(found: Sequence[judging.Evaluation], protocol: str) -> dict[str, Any]:
    """One document over all parts."""
    images, patients = judging.finish(row for each in found for row in each.images)
    every = judging.Evaluation(
        images,
        patients,
        model=found[0].model,
        split=protocol,
        seed=SEED,
        by_patient=found[0].by_patient,
    )
    return judging.document(every)


def main() -> None:
    """Train, judge, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("protocol", choices=["p1", "p2", "p3"])
    parser.add_argument("--preset", default="lv-sax-fold")
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    models = [
        (part, trained(part, options.preset, options.work))
        for part in parts(options.protocol, options.dataset, options.work)
    ]
    if options.train:
        return
    result: dict[str, Any] = {"preset": json.loads(read_preset(options.preset).model_dump_json())}
    for name, by_patient in (("alone", False), ("by_patient", True)):
        found = [judged(part, model, by_patient, options.work) for part, model in models]
        result[name] = together(found, options.protocol)
        dice, jaccard = (result[name][key]["mean"] for key in ("dice", "jaccard"))
        print(f"{options.protocol} {name}: Dice {dice:.4f}, Jaccard {jaccard:.4f}")
    save(options.protocol, __doc__.split("\n\n")[1].replace("\n", " "), result, seed=SEED)


if __name__ == "__main__":
    main()
