"""The protocols of the accuracy page: train where needed, judge the patients held out, keep rows.

P2 trains on the official training and validation patients and judges the online patients; P3 is a
cross-validation over all patients, folds balanced by pathology. The recipe is that of the shipped
model. A finished model is kept and a stopped training goes on. Every picture with a contour is
judged full frame by ``lvseg evaluate`` against the experts' outlines: alone and with the pictures
of its patient as a study (``--by-patient``). P2 is also judged against the public masks, the
model's masks drawn with their line as those were. ``--train`` stops before any patient is judged.
Usage: ``python benchmarks/protocols.py DATASET WORK p2|p3 [--distributed DATASET] [--preset NAME]
[--epochs N] [--train]``; DATASET as ``lvseg prepare sunnybrook`` makes it, that of
``--distributed`` with ``--as-distributed``.
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
from lvseg.train.export import export
from lvseg.train.options import read_preset
from lvseg.train.trainer import fit

FOLDS, SEED = 5, 20261122
#: What differs between the models of one recipe.
OWN = {"name", "description", "train_split", "validation_split"}
#: How pictures are judged: a patient's together, against the public masks with their line.
MODES = {"alone": (False, False), "by_patient": (True, False), "public_masks": (True, True)}
#: Patient whose contours were moved (``lvseg.datasets.sunnybrook.REPAIRS``).
REPAIRED = "SC-N-06"


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
    if protocol == "p2":
        return (Part("p2", dataset, "training+validation", "online"),)
    folder = work / "dataset"
    names = deal(dataset, folder)
    return tuple(
        Part(f"p3-{name}", folder, "+".join(other for other in names if other != name), name)
        for name in names
    )


def trained(part: Part, preset: str, work: Path, epochs: int | None) -> Path:
    """The model of a part; trained if it is not there."""
    model = work / f"{part.name}-model"
    if not model.exists():
        changes = {"train_split": part.taught} | ({} if epochs is None else {"epochs": epochs})
        options = read_preset(preset).model_copy(update=changes)
        report = partial(print, part.name, flush=True)
        run = fit(options, part.dataset, work / f"{part.name}-run", resume=True, report=report)
        export(run, model, name=f"{preset}-{part.name}")
    return model


def judged(part: Part, model: Path, by_patient: bool, dataset: Path | None) -> judging.Evaluation:
    """The patients held out from a part; no patient of theirs may have taught the model.

    :param dataset: one with the public masks; None = against the outlines.
    """
    found = judging.evaluate(
        dataset or part.dataset,
        part.judged,
        load_model(model),
        by_patient=by_patient,
        with_line=dataset is not None,
        seed=SEED,
    )
    if found.leaked_patients:
        raise SystemExit(f"{part.name}: the model was taught {', '.join(found.leaked_patients)}")
    return found


def together(found: Sequence[judging.Evaluation], protocol: str) -> dict[str, Any]:
    """One document over all parts, of the pictures with a contour; one line a picture."""
    rows = [row for each in found for row in each.images if row.reference_px]
    images, patients = finish(rows)
    every = replace(found[0], images=images, patients=patients, split=protocol, seed=SEED)
    document = judging.document(every)
    kept = finish(row for row in rows if row.patient_id != REPAIRED)
    without = judging.document(replace(every, images=kept[0], patients=kept[1]))
    document["without_repaired"] = {
        key: without[key] for key in ("dice", "jaccard", "n_below_half")
    }
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
    parser.add_argument("protocol", choices=["p2", "p3"])
    parser.add_argument("--distributed", type=Path)
    parser.add_argument("--preset", default="lv-sax")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    models = [
        (part, trained(part, options.preset, options.work, options.epochs))
        for part in parts(options.protocol, options.dataset, options.work)
    ]
    if options.train:
        return
    recipe = json.loads(read_preset(options.preset).model_dump_json(exclude=OWN))
    if options.epochs is not None:
        recipe["epochs"] = options.epochs
    result: dict[str, Any] = {"recipe": recipe}
    for name, (by_patient, with_line) in MODES.items():
        if with_line and options.distributed is None:
            continue
        against = options.distributed if with_line else None
        found = [judged(part, model, by_patient, against) for part, model in models]
        result[name] = together(found, options.protocol)
        dice, jaccard = (result[name][key]["mean"] for key in ("dice", "jaccard"))
        print(f"{options.protocol} {name}: Dice {dice:.4f}, Jaccard {jaccard:.4f}")
    save(options.protocol, __doc__.split("\n\n")[1].replace("\n", " "), result, seed=SEED)


if __name__ == "__main__":
    main()
