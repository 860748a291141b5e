"""The protocols of the accuracy page: train where needed, judge the patients held out, keep rows.

P1 trains on the official training patients and judges validation and online patients; P2 trains on
training and validation and judges online; P3 is a cross-validation over all patients, folds
balanced by pathology. The recipe is that of the shipped model. A finished model is kept and a
stopped training goes on. Every picture with a contour is judged full frame by ``lvseg evaluate``:
alone and with the pictures of its patient as a study (``--by-patient``); P2 also with ``--flips``.
``--train`` stops before any patient is judged.
Usage: ``python benchmarks/protocols.py DATASET WORK p1|p2|p3 [--preset NAME] [--train]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from provenance import save

from lvseg import evaluate as judging
from lvseg.datasets.folder import ImagePair, write_dataset
from lvseg.evaluate.rows import finish
from lvseg.manifest import Sample, image_path, mask_path, read_dataset_facts, read_manifest, select
from lvseg.manifest import folds as deal_patients
from lvseg.outlines import Outline, outlines_path, read_outlines
from lvseg.predict import load_model
from lvseg.settings import Settings
from lvseg.train.export import export
from lvseg.train.options import read_preset
from lvseg.train.trainer import fit

FOLDS, SEED = 5, 20261122
#: What differs between the models of one recipe.
OWN = {"name", "description", "train_split", "validation_split"}
#: How pictures are judged: (a patient's together, four mirror images averaged).
MODES = {"alone": (False, False), "by_patient": (True, False), "by_patient_flips": (True, True)}


@dataclass(frozen=True, slots=True)
class Part:
    """One model of a protocol: the data set, what teaches it, and whom it is judged on."""

    name: str
    dataset: Path
    taught: str
    judged: str


def deal(dataset: Path, folder: Path) -> tuple[str, ...]:
    """Make a data set whose splits are the folds; returns their names."""
    names = tuple(f"fold{number}" for number in range(1, FOLDS + 1))
    if not folder.exists():
        samples = select(read_manifest(dataset), "training+validation+online")
        dealt = chain.from_iterable(deal_patients(samples, FOLDS, seed=SEED))
        pictures = [
            ImagePair(
                sample,
                image_path(dataset, sample),
                mask_path(dataset, sample),
                drawn_outlines(dataset, sample),
            )
            for sample in dealt
        ]
        write_dataset(folder, pictures, layout="folds", facts=read_dataset_facts(dataset))
    return names


def drawn_outlines(dataset: Path, sample: Sample) -> tuple[Outline, ...] | None:
    """The outlines beside a mask; None where the masks are as they were distributed."""
    path = outlines_path(dataset, sample.file)
    return read_outlines(path) if path.is_file() else None


def parts(protocol: str, dataset: Path, work: Path) -> tuple[Part, ...]:
    """The models that a protocol needs."""
    if protocol == "p1":
        return (Part("p1", dataset, "training", "validation+online"),)
    if protocol == "p2":
        return (Part("p2", dataset, "training+validation", "online"),)
    folder = work / "dataset"
    names = deal(dataset, folder)
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


def judged(part: Part, model: Path, by_patient: bool, flips: bool) -> judging.Evaluation:
    """The patients held out from a part; no patient of theirs may have taught the model."""
    found = judging.evaluate(
        part.dataset,
        part.judged,
        load_model(model),
        Settings(flips=flips),
        by_patient=by_patient,
        seed=SEED,
    )
    if found.leaked_patients:
        raise SystemExit(f"{part.name}: the model was taught {', '.join(found.leaked_patients)}")
    return found


def together(found: Sequence[judging.Evaluation], protocol: str) -> dict[str, Any]:
    """One document over all parts, of the pictures with a contour; one line a picture."""
    images, patients = finish(row for each in found for row in each.of().images if row.reference_px)
    every = replace(found[0], images=images, patients=patients, split=protocol, seed=SEED)
    document = judging.document(every)
    document["false_positives"] = {
        "pictures_without_cavity": sum(
            not row.reference_px for e in found for row in e.of().images
        ),
        "with_a_mask": sum(
            row.prediction_px > 0 for e in found for row in e.of().images if not row.reference_px
        ),
    }
    document["per_image"] = {row["file"]: round(row["dice"], 4) for row in document["per_image"]}
    return document


def main() -> None:
    """Train, judge, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("protocol", choices=["p1", "p2", "p3"])
    parser.add_argument("--preset", default="lv-sax")
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    models = [
        (part, trained(part, options.preset, options.work))
        for part in parts(options.protocol, options.dataset, options.work)
    ]
    if options.train:
        return
    recipe = read_preset(options.preset).model_dump_json(exclude=OWN)
    result: dict[str, Any] = {"recipe": json.loads(recipe)}
    for name, (by_patient, flips) in MODES.items():
        if flips and options.protocol != "p2":
            continue
        found = [judged(part, model, by_patient, flips) for part, model in models]
        result[name] = together(found, options.protocol)
        dice, jaccard = (result[name][key]["mean"] for key in ("dice", "jaccard"))
        print(f"{options.protocol} {name}: Dice {dice:.4f}, Jaccard {jaccard:.4f}")
    save(options.protocol, __doc__.split("\n\n")[1].replace("\n", " "), result, seed=SEED)


if __name__ == "__main__":
    main()
