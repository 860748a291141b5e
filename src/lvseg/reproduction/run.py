"""Run of the ladder, resumable: each step is a run folder, trained, scored, never repeated."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lvseg.atomic import write_text
from lvseg.manifest import manifest_text, patients, read_manifest, select
from lvseg.reproduction import splits
from lvseg.reproduction.batch_statistics import own_rows, two_normalisations
from lvseg.reproduction.comparisons import paired_difference, paired_on_common, unpaired_difference
from lvseg.reproduction.ladder import (
    LEAK_PAIR,
    MODIFIED,
    NETWORKS,
    PEERS,
    Scale,
    Step,
    choose,
    ladder,
)
from lvseg.reproduction.offline_augmentation import paper_counts
from lvseg.reproduction.page import write_pages
from lvseg.reproduction.score import Row, load, score, summary
from lvseg.reproduction.speed import images_per_second
from lvseg.reproduction.splits import paper_samples
from lvseg.reproduction.step_run import PARTS, Place, Rows, is_done, read_rows, seconds, write_rows
from lvseg.reproduction.worker_pool import Report, jobs_for, one_thread, run_steps
from lvseg.train.distributed import Device
from lvseg.train.log import read_log
from lvseg.train.network import build, count_parameters
from lvseg.train.run_folder import exclusive_lock, read_kept, same_settings
from lvseg.version import __version__

SEED = 20261122


def steps_of(scale: Scale, seed: int = SEED) -> tuple[Step, ...]:
    """The ladder of a scale; its epochs show as many pictures as the paper trains on."""
    return ladder(scale, paper_counts(scale.total)["training"], seed)


def reproduce(
    dataset: Path,
    output: Path,
    scale: Scale,
    *,
    seed: int = SEED,
    device: Device = "auto",
    only: Sequence[str] = (),
    jobs: int | None = None,
    report: Report = lambda stage, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run the steps that are not done yet, and write ``study.json`` and the report.

    Stopped at any moment it goes on where it was, at most one epoch back, and ends with the same
    numbers (exactly so on a CPU, where each step has one thread). ``only`` names the steps to run;
    the report shows all that is there.

    :param jobs: steps that run at once, on a CPU; None = one a processor.
    :returns: the document of ``study.json``.
    :raises UsageError: an unknown step, an output folder of another scale, seed or data set, or
        one in use.
    """
    steps = steps_of(scale, seed)
    wanted = choose(steps, only)
    samples = paper_samples(dataset)
    with exclusive_lock(output, "run"):
        identity = _identity(output, scale, seed, manifest_text(samples))
        report("data", 0, len(wanted))
        data = splits.make(dataset, output / "data", scale, seed)
        place = Place(output, data, device)
        finished = []

        def tell(step: Step) -> None:
            finished.append(step)
            dice = summary(read_rows(place.run(step))["validation"])["dice"]["mean"]
            note(f"{len(finished)}/{len(wanted)} {step.key}: validation Dice {dice:.4f}")

        with one_thread(place.torch_device()):
            run_steps(wanted, place, jobs_for(place.torch_device(), jobs), report, tell)
            document = _document(identity, place, steps)
        write_text(output / "study.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_pages(document, output)
    return document


def _document(identity: Mapping[str, Any], place: Place, steps: Sequence[Step]) -> dict[str, Any]:
    """Everything that is known of the steps that are done."""
    done = {step.key: read_rows(place.run(step)) for step in steps if is_done(place.run(step))}
    return {
        **identity,
        **_circumstances(place),
        "splits": splits.facts(place.data),
        "steps": [_reported(step, place, done) for step in steps if step.key in done],
        "missing": [step.key for step in steps if step.key not in done],
        "leak": _leak(place, steps, done),
        "two_normalisations": two_normalisations(place, steps, done),
        "images_per_second": _speed(place, steps, done),
        "seconds": {step.key: seconds(place.run(step)) for step in steps if step.key in done},
    }


def _speed(place: Place, steps: Sequence[Step], done: Mapping[str, Rows]) -> dict[str, float]:
    """Of the peers and the network beside them, once all of them are there."""
    compared = [step for step in steps if step.key in PEERS]
    if not {step.key for step in compared} <= set(done):
        return {}
    return images_per_second(compared, place.torch_device(), place.output / "speed.json")


def _identity(output: Path, scale: Scale, seed: int, manifest: str) -> dict[str, Any]:
    """What the folder is a reproduction of; written once, and the same ever after."""
    settings = {
        "schema": 1,
        "scale": asdict(scale),
        "seed": seed,
        "manifest_sha256": hashlib.sha256(manifest.encode()).hexdigest(),
    }
    path = output / "study-of.json"
    earlier = read_kept(path, dict[str, Any]) if path.is_file() else None
    own = same_settings(output, "reproduction", settings, earlier)
    if earlier is None:
        write_text(path, json.dumps(own, indent=1) + "\n")
    return own


def _circumstances(place: Place) -> dict[str, Any]:
    names = ("torch", "numpy", "scipy", "pillow")
    versions = {"lvseg": __version__, "python": platform.python_version()}
    device = place.torch_device()
    return {
        "versions": versions | {name: version(name) for name in names},
        "device": device.type,
        "threads": 1 if device.type == "cpu" else None,
    }


def _reported(step: Step, place: Place, done: Mapping[str, Rows]) -> dict[str, Any]:
    """Everything about one finished step, as plain values."""
    run, rows = place.run(step), done[step.key]
    gained = None
    if step.before is not None and step.before in done:
        gained = paired_difference(done[step.before]["validation"], rows["validation"])
    return {
        "key": step.key,
        "title": step.title,
        "split": step.split,
        "kind": step.options.network.kind,
        "change": step.change,
        "before": step.before,
        "parameters": count_parameters(build(step.options.network)),
        "steps": step.options.epochs * step.options.steps_per_epoch,
        "pictures_seen": step.options.epochs
        * step.options.steps_per_epoch
        * step.options.batch_size,
        "scores": {part: summary(rows[part]) for part in PARTS},
        "bought_on_validation": gained,
        "options": step.options.model_dump(mode="json"),
        "log": read_log(run),
    }


def _leak(place: Place, steps: Sequence[Step], done: Mapping[str, Rows]) -> dict[str, Any]:
    """The same network and budget on the leaking split and on honest ones."""
    by_key = {step.key: step for step in steps}
    found: dict[str, Any] = {"by_network": {}, "by_network_own": {}, "same_pictures": {}}
    for kind in NETWORKS:
        pair = (f"image-level-{kind}", f"official-{kind}")
        if set(pair) <= set(done):
            found["by_network"][kind] = unpaired_difference(*(done[key]["test"] for key in pair))
            own = (own_rows(by_key[key], place, "test") for key in pair)
            found["by_network_own"][kind] = unpaired_difference(*own)
    leaking, control = f"image-level-{MODIFIED}", f"patient-shares-{MODIFIED}"
    pairs = [(leaking, f"official-{MODIFIED}"), (leaking, control), tuple(LEAK_PAIR.values())]
    for one, other in pairs:
        if {one, other} <= set(done):
            honest = _rescored(by_key[other], place)
            found["same_pictures"][other] = paired_on_common(done[one]["test"], honest)
    for name, (one, other) in {"same_shares": pairs[1], "batches": pairs[2]}.items():
        both = {one, other} <= set(done)
        found[name] = unpaired_difference(done[one]["test"], done[other]["test"]) if both else None
    return found


def _rescored(step: Step, place: Place) -> tuple[Row, ...]:
    """A run on those test pictures of the leaking split whose patients it was never shown."""
    run, name = place.run(step), "on-image-level-test"
    if not (run / f"{name}.json").is_file():
        folder = place.data["image-level"]
        unseen = set(patients(select(read_manifest(place.data[step.split]), "test")))
        samples = select(read_manifest(folder, allow_leaks=True), "test")
        network, options = load(run, place.torch_device())
        rows = score(network, options, folder, [c for c in samples if c.patient_id in unseen])
        write_rows(run / f"{name}.json", {"test": rows})
    return read_rows(run, name)["test"]
