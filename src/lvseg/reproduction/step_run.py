"""Run folder of one step of the ladder: trained, scored, drawn, and never done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lvseg.atomic import write_text
from lvseg.errors import UsageError
from lvseg.manifest import read_manifest, select
from lvseg.reproduction.examples import chosen, draw_examples, examples
from lvseg.reproduction.ladder import Step
from lvseg.reproduction.score import Row, load, score
from lvseg.reproduction.splits import Splits
from lvseg.reproduction.trainer import FrameOptions, fit_frames
from lvseg.train.checkpoint import read_document
from lvseg.train.distributed import Device, pick_device
from lvseg.train.run_folder import read_kept
from lvseg.train.trainer import fit

PARTS = ("training", "validation", "test")
#: Pictures of the validation patients shown for each run.
SHOWN = 4
#: Called with the epoch that is done, of how many.
Follow = Callable[[int, int], None]
Rows = Mapping[str, tuple[Row, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ladder is run, of what, and on which device."""

    output: Path
    data: Splits
    device: Device

    def run(self, step: Step) -> Path:
        """Folder of a step."""
        return self.output / "runs" / step.key

    def torch_device(self) -> torch.device:
        """The device, for torch."""
        return pick_device(self.device)


def run_step(step: Step, place: Place, follow: Follow = lambda epoch, epochs: None) -> None:
    """Train and score one step, unless that is done.

    :raises UsageError: the folder holds the step with other options.
    """
    run = place.run(step)
    if is_done(run):
        if read_document(run)["options"] != step.options.model_dump(mode="json"):
            raise UsageError(f"{run} was made with other options: name a new folder")
        return
    leaks, data = step.split == "image-level", place.data[step.split]
    with _timed(run):
        train_step(step, place, follow)
        network, options = load(run, place.torch_device())
        samples = read_manifest(data, allow_leaks=leaks)
        rows = {part: score(network, options, data, select(samples, part)) for part in PARTS}
        shown = chosen(select(samples, "validation"), SHOWN)
        draw_examples(examples(network, options, data, shown), run / "examples.png")
    write_rows(run / "scores.json", rows)
    for name in ("best.json", "best.safetensors"):  # nothing is picked; 1.2 GB at paper scale
        (run / name).unlink(missing_ok=True)


def train_step(step: Step, place: Place, follow: Follow) -> None:
    """Train one step or go on with it; whole frames by the reproduction's own trainer."""
    options, data, run = step.options, place.data[step.split], place.run(step)
    if isinstance(options, FrameOptions):
        fit_frames(
            options,
            data,
            run,
            follow=follow,
            device=place.torch_device(),
            allow_leaks=step.split == "image-level",
        )
        return
    fit(
        options,
        data,
        run,
        resume=True,
        report=lambda epoch, epochs, figures: follow(epoch, epochs),
        device=place.device,
    )


def is_done(run: Path) -> bool:
    """Whether a step was trained and scored."""
    return (run / "scores.json").is_file()


@contextmanager
def _timed(run: Path) -> Iterator[None]:
    """Add the seconds of the block to those of the run, whether it ends well or not."""
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        earlier = seconds(run)
        spent = {
            "wall": round(earlier["wall"] + time.perf_counter() - wall, 1),
            "processor": round(earlier["processor"] + time.process_time() - processor, 1),
        }
        if run.is_dir():
            write_text(run / "seconds.json", json.dumps(spent) + "\n")


def seconds(run: Path) -> dict[str, float]:
    """Seconds of training and scoring: of the clock (``wall``) and of the ``processor``."""
    path = run / "seconds.json"
    if not path.is_file():
        return {"wall": 0.0, "processor": 0.0}
    return read_kept(path, dict[str, float])


def write_rows(path: Path, rows: Rows) -> None:
    """Keep the overlap of every picture, by part."""
    document = {name: [asdict(row) for row in part] for name, part in rows.items()}
    write_text(path, json.dumps(document, indent=0, allow_nan=False) + "\n")


def read_rows(run: Path, name: str = "scores") -> dict[str, tuple[Row, ...]]:
    """What :func:`write_rows` has kept."""
    return read_kept(run / f"{name}.json", dict[str, tuple[Row, ...]])
