"""Where held-out networks and experts disagree most, with pictures: failures and doubtful labels.

Each patient is segmented, as a study of two phases, by a model that has not seen them
(``protocols.py DATASET WORK p3`` comes first). A label is called doubtful by rule, not by taste:
the network is sure of its outline (Dice of the mask with its own probabilities) and still far from
the expert's. What is left of the lowest Dice values counts as failures of the network.
Usage: ``python benchmarks/audit.py DATASET WORK``; writes ``results/audit.json``,
``docs/pictures/failures.png`` and ``docs/pictures/label-audit.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from protocols import parts
from provenance import ROOT, save
from scipy import ndimage

from lvseg import pipeline
from lvseg.cine import Study
from lvseg.contours import slice_contours
from lvseg.labels import Label
from lvseg.manifest import Sample, patients, read_manifest, select
from lvseg.metrics import dice
from lvseg.predict import Predictor, load_model
from lvseg.quality.confidence import self_dice
from lvseg.samples import phases_as_cine, read_sample
from lvseg.settings import Settings

#: Doubtful: the network at least this sure, and a Dice below this.
SURE, FAR = 0.93, 0.80
SHOWN, ACROSS = 12, 6
#: Side of a tile in pixels of the picture, and how much it is enlarged.
TILE_PX, ENLARGED = 80, 2
EXPERT, NETWORK = (90, 220, 90), (255, 140, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One contoured picture."""

    sample: Sample
    image: NDArray[np.float32]
    expert: NDArray[np.bool_]
    found: NDArray[np.bool_]
    dice: float
    own: float

    @property
    def doubtful(self) -> bool:
        """The network is sure and far from the label."""
        return self.own >= SURE and self.dice < FAR


def judged(dataset: Path, samples: tuple[Sample, ...], predictor: Predictor) -> list[Judged]:
    """The contoured pictures of one patient."""
    pairs = {
        number: (cine, labels == Label.LV_CAVITY)
        for number, sample in enumerate(samples)
        for cine, labels in [read_sample(dataset, sample)]
    }
    rows = []
    together = {number: cine for number, (cine, _) in pairs.items()}
    for cine, places in phases_as_cine(dict(enumerate(samples)), together):
        result = pipeline.run(Study((cine,)), predictor, Settings(keep_probabilities=True))
        for number, place in places.items():
            single, expert = pairs[number]
            found = result.mask.of(Label.LV_CAVITY)[place]
            own = self_dice(result.probabilities[Label.LV_CAVITY][place][None], found[None])[0]
            row = (single.frames[0, 0], expert, found, float(dice(expert, found)), float(own))
            if expert.any():
                rows.append(Judged(samples[number], *row))
    return rows


def picture(rows: list[Judged]) -> Image.Image:
    """Tiles, each with its name and Dice; the expert's outline and the network's."""
    side, head = TILE_PX * ENLARGED, 16
    down = -(-len(rows) // ACROSS)
    whole = Image.new("RGB", (ACROSS * side, max(1, down) * (side + head)), (0, 0, 0))
    for index, row in enumerate(rows):
        tile = Image.new("RGB", (side, side + head))
        centre = ndimage.center_of_mass(row.expert)
        top, left = (
            int(np.clip(round(place) - TILE_PX // 2, 0, size - TILE_PX))
            for place, size in zip(centre, row.image.shape, strict=True)
        )
        crop = row.image[top : top + TILE_PX, left : left + TILE_PX]
        low, high = np.percentile(crop, [1, 99.5])
        grey = np.clip((crop - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
        tile.paste(Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC), (0, head))
        pen = ImageDraw.Draw(tile)
        for mask, colour in ((row.expert, EXPERT), (row.found, NETWORK)):
            for polygon in slice_contours(mask):
                points = (np.asarray(polygon) + 0.5 - (left, top)) * ENLARGED + (0, head)
                closed = [tuple(point) for point in (*points, points[0])]
                pen.line(closed, fill=colour, width=1)
        name = row.sample.file.removesuffix(".png").replace("-IM-0001", "")
        pen.text((2, 2), f"{name}  {row.dice:.2f}", fill=(255, 255, 255))
        whole.paste(tile, ((index % ACROSS) * side, (index // ACROSS) * (side + head)))
    return whole


def described(row: Judged) -> dict[str, Any]:
    """A picture in words."""
    return {
        "file": row.sample.file,
        "patient": row.sample.patient_id,
        "pathology": row.sample.pathology,
        "phase": row.sample.phase,
        "dice": round(row.dice, 3),
        "network_sure_of": round(row.own, 3),
        "expert_px": int(row.expert.sum()),
        "network_px": int(row.found.sum()),
    }


def main() -> None:
    """Segment all, sort, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    rows: list[Judged] = []
    for part in parts("p3", options.dataset, options.work):
        predictor = load_model(options.work / f"{part.name}-model")
        held = select(read_manifest(part.dataset), part.judged)
        for name in patients(held):
            own = tuple(sample for sample in held if sample.patient_id == name)
            rows += judged(part.dataset, own, predictor)
    rows.sort(key=lambda row: row.dice)
    doubtful = [row for row in rows if row.doubtful]
    failures = [row for row in rows if not row.doubtful]
    pictures = ROOT / "docs" / "pictures"
    for name, chosen in (("label-audit", doubtful), ("failures", failures)):
        picture(chosen[:SHOWN]).save(pictures / f"{name}.png", optimize=True)
    clean = [row.dice for row in rows if not row.doubtful]
    tighter = [dice(row.expert, ndimage.binary_erosion(row.expert)) for row in rows]
    result = {
        "sure_from": SURE,
        "far_below": FAR,
        "pictures": len(rows),
        "dice": float(np.mean([row.dice for row in rows])),
        "dice_without_doubtful": float(np.mean(clean)),
        "dice_of_experts_a_pixel_tighter": float(np.mean(tighter)),
        "doubtful": [described(row) for row in doubtful],
        "failures": [described(row) for row in failures[:SHOWN]],
    }
    print(f"{len(doubtful)} doubtful labels among {len(rows)}")
    save("audit", __doc__.split("\n\n")[1].replace("\n", " "), result)


if __name__ == "__main__":
    main()
