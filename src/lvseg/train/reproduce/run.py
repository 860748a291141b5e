"""Run the ladder, or go on with it: each step is a run folder, trained, scored, never repeated."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lvseg import __version__
from lvseg.cases import manifest_text, patients, read_manifest, select
from lvseg.datasets.augmented import study_counts
from lvseg.errors import UsageError
from lvseg.train.checkpoint import read_options
from lvseg.train.distributed import Device, pick_device
from lvseg.train.folder_lock import alone_in
from lvseg.train.network import build, count_parameters
from lvseg.train.record import read_log
from lvseg.train.reproduce import findings, splits
from lvseg.train.reproduce.examples import chosen, draw_examples, examples
from lvseg.train.reproduce.page import write_pages
from lvseg.train.reproduce.score import Row, load, score, summary
from lvseg.train.reproduce.splits import Splits, originals
from lvseg.train.reproduce.steps import MODIFIED, NETWORKS, Scale, Step, choose, ladder
from lvseg.train.trainer import fit
from lvseg.write import write_text

__all__ = ["PARTS", "SEED", "reproduce", "steps_of"]

SEED = 20261122
PARTS = ("training", "validation", "test")
#: Pictures of the validation patients shown for each run.
SHOWN = 4
#: Called with (what is going on, done, of how many).
Report = Callable[[str, int, int], None]
Rows = Mapping[str, tuple[Row, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a study is made, of what, and on which device."""

    output: Path
    data: Splits
    device: Device

    def run(self, step: Step) -> Path:
        return self.output / "runs" / step.key

    def torch_device(self) -> torch.device:
        return pick_device(self.device)


def steps_of(scale: Scale, seed: int = SEED) -> tuple[Step, ...]:
    """The ladder of a scale; its epochs show as many pictures as the study trains on."""
    return ladder(scale, study_counts(scale.total)["training"], seed)


def reproduce(
    dataset: Path,
    output: Path,
    scale: Scale,
    *,
    seed: int = SEED,
    device: Device = "auto",
    only: Sequence[str] = (),
    report: Report = lambda stage, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run the steps that are not done yet, and write ``study.json`` and the report.

    Stopped at any moment it goes on where it was, at most one epoch back, and ends with the same
    numbers (exactly so on a CPU). ``only`` names the steps to run; the report shows all that is
    there.

    :returns: the document of ``study.json``.
    :raises UsageError: an unknown step, an output folder of another study, or one in use.
    """
    steps = steps_of(scale, seed)
    wanted = choose(steps, only)
    cases = originals(dataset)
    with alone_in(output, "run"):
        identity = _identity(output, scale, seed, manifest_text(cases))
        report("data", 0, len(wanted))
        data = splits.make(dataset, output / "data", scale, seed)
        place = _Place(output, data, device)
        for index, step in enumerate(wanted):
            _run(step, place, report, (index, len(wanted)))
            figures = _read(place.run(step))
            dice = summary(figures["validation"])["dice"]["mean"]
            note(f"{index + 1}/{len(wanted)} {step.key}: validation Dice {dice:.4f}")
        done = {step.key: _read(place.run(step)) for step in steps if _is_done(place.run(step))}
        document = {
            **identity,
            **_circumstances(place),
            "splits": splits.facts(data),
            "steps": [_told(step, place, done) for step in steps if step.key in done],
            "missing": [step.key for step in steps if step.key not in done],
            "leak": _leak(place, steps, done),
            "seconds": {step.key: _seconds(place.run(step)) for step in steps if step.key in done},
        }
        write_text(output / "study.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_pages(document, output)
    return document


def _identity(output: Path, scale: Scale, seed: int, manifest: str) -> dict[str, Any]:
    """What the folder is a study of; written once, and the same ever after."""
    own = {
        "schema": 1,
        "scale": asdict(scale),
        "seed": seed,
        "manifest_sha256": hashlib.sha256(manifest.encode()).hexdigest(),
    }
    path = output / "study-of.json"
    if not path.is_file():
        write_text(path, json.dumps(own, indent=1) + "\n")
    earlier = json.loads(path.read_text("utf-8"))
    if earlier != own:
        other = ", ".join(key for key in own if own[key] != earlier.get(key))
        raise UsageError(
            f"expected the study that {output} was begun with, found another {other}: "
            "name a new folder"
        )
    return own


def _circumstances(place: _Place) -> dict[str, Any]:
    names = ("torch", "numpy", "scipy", "pillow")
    versions = {"lvseg": __version__, "python": platform.python_version()}
    device = place.torch_device()
    return {
        "versions": versions | {name: version(name) for name in names},
        "device": device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
    }


def _run(step: Step, place: _Place, report: Report, position: tuple[int, int]) -> None:
    """Train and score one step, unless that is done."""
    run, (index, count) = place.run(step), position
    if _is_done(run):
        if read_options(run)[0] != step.options:
            raise UsageError(f"{run} was made with other options: name a new folder")
        return

    def follow(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        report(f"{step.key}, epoch {epoch}/{epochs}", index * epochs + epoch, count * epochs)

    leaks, data = step.split == "image-level", place.data[step.split]
    with _timed(run):
        fit(
            step.options,
            data,
            run,
            resume=True,
            report=follow,
            device=place.device,
            allow_leaks=leaks,
        )
        report(f"{step.key}, scoring", index + 1, count)
        network, options = load(run, place.torch_device())
        cases = read_manifest(data, allow_leaks=leaks)
        rows = {part: score(network, options, data, select(cases, part)) for part in PARTS}
        shown = chosen(select(cases, "validation"), SHOWN)
        draw_examples(examples(network, options, data, shown), run / "examples.png")
    _write(run / "scores.json", rows)
    for name in ("best.json", "best.safetensors"):  # nothing is picked; 1.2 GB at paper scale
        (run / name).unlink(missing_ok=True)


@contextmanager
def _timed(run: Path) -> Iterator[None]:
    """Add the seconds of the block to those of the run, whether it ends well or not."""
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        earlier = _seconds(run)
        spent = {
            "wall": round(earlier["wall"] + time.perf_counter() - wall, 1),
            "processor": round(earlier["processor"] + time.process_time() - processor, 1),
        }
        if run.is_dir():
            write_text(run / "seconds.json", json.dumps(spent) + "\n")


def _seconds(run: Path) -> dict[str, float]:
    path = run / "seconds.json"
    if not path.is_file():
        return {"wall": 0.0, "processor": 0.0}
    found: dict[str, float] = json.loads(path.read_text("utf-8"))
    return found


def _is_done(run: Path) -> bool:
    return (run / "scores.json").is_file()


def _write(path: Path, rows: Rows) -> None:
    document = {name: [asdict(row) for row in part] for name, part in rows.items()}
    write_text(path, json.dumps(document, indent=0, allow_nan=False) + "\n")


def _read(run: Path, name: str = "scores") -> dict[str, tuple[Row, ...]]:
    document = json.loads((run / f"{name}.json").read_text("utf-8"))
    return {part: tuple(Row(**row) for row in rows) for part, rows in document.items()}


def _told(step: Step, place: _Place, done: Mapping[str, Rows]) -> dict[str, Any]:
    """Everything about one finished step, as plain values."""
    run, rows = place.run(step), done[step.key]
    gained = None
    if step.before is not None and step.before in done:
        gained = findings.bought(done[step.before]["validation"], rows["validation"])
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


def _leak(place: _Place, steps: Sequence[Step], done: Mapping[str, Rows]) -> dict[str, Any]:
    """The same network and budget on the leaking split and on honest ones."""
    gaps = {
        kind: findings.gap(done[f"image-level-{kind}"]["test"], done[f"official-{kind}"]["test"])
        for kind in NETWORKS
        if {f"image-level-{kind}", f"official-{kind}"} <= set(done)
    }
    by_key = {step.key: step for step in steps}
    leaking, control = f"image-level-{MODIFIED}", f"patient-shares-{MODIFIED}"
    found: dict[str, Any] = {"by_network": gaps, "same_pictures": {}, "same_shares": None}
    if {leaking, control} <= set(done):
        found["same_shares"] = findings.gap(done[leaking]["test"], done[control]["test"])
    for key in (f"official-{MODIFIED}", control):
        if {leaking, key} <= set(done):
            honest = _rescored(by_key[key], place)
            found["same_pictures"][key] = findings.paired(done[leaking]["test"], honest)
    return found


def _rescored(step: Step, place: _Place) -> tuple[Row, ...]:
    """A run on those test pictures of the leaking split whose patients it was never shown."""
    run, name = place.run(step), "on-image-level-test"
    if not (run / f"{name}.json").is_file():
        folder = place.data["image-level"]
        unseen = set(patients(select(read_manifest(place.data[step.split]), "test")))
        cases = select(read_manifest(folder, allow_leaks=True), "test")
        network, options = load(run, place.torch_device())
        rows = score(network, options, folder, [c for c in cases if c.patient_id in unseen])
        _write(run / f"{name}.json", {"test": rows})
    return _read(run, name)["test"]
