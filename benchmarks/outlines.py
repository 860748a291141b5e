"""What the public Sunnybrook masks are made of, and how well the outlines behind them come back.

Every mask whose contour file is public is drawn again from that file, by the rule of
``lvseg.outlines.fill_with_line``, and compared pixel by pixel. The outline recovered from the mask
alone is compared with the expert's own polygon, both filled by exact area coverage: intersection
over union, and area.
Usage: ``python benchmarks/outlines.py``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from provenance import DATA, save

from lvseg.contour_files import CONTOUR_OFFSET_PX
from lvseg.contours import coverage
from lvseg.datasets.contours import contour_files, read_contour
from lvseg.labels import Label
from lvseg.outlines import fill_with_line, recover_outline
from lvseg.read import read_mask, read_picture

SOURCE = DATA / "sunnybrook"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
#: Patient and image number: a cavity of usual size and one near the apex.
SHOWN = (("SC-HF-I-01", 119), ("SC-N-03", 328))
KINDS = {
    "endocardium": ("masks", Label.LV_CAVITY),
    "epicardium": ("epi_masks", Label.LV_MYOCARDIUM),
}


def judge(folder: str, label: Label) -> dict[str, Any]:
    """All masks of a kind that have a contour file."""
    with (SOURCE / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {path.name: contour_files(path, label) for path in (SOURCE / "contours").iterdir()}
    equal, ious, mask_ious, areas, errors, mask_errors = [], [], [], [], [], []
    for row in rows:
        path = known.get(row["patient_id"], {}).get(int(row["image_number"]))
        if path is None or not (SOURCE / folder / row["file"]).is_file():
            continue
        mask = read_mask(SOURCE / folder / row["file"]).of(Label.LV_CAVITY)[0, 0]
        polygon = read_contour(path)
        true, found = coverage(polygon, mask.shape), coverage(recover_outline(mask), mask.shape)
        drawn = fill_with_line(polygon - CONTOUR_OFFSET_PX, mask.shape)
        equal.append(bool((drawn == mask).all()))
        ious.append(np.minimum(true, found).sum() / np.maximum(true, found).sum())
        mask_ious.append(np.minimum(true, mask).sum() / np.maximum(true, mask).sum())
        areas.append(true.sum())
        errors.append(found.sum() - true.sum())
        mask_errors.append(mask.sum() - true.sum())
    return {
        "masks": len(equal),
        "drawn_again_to_the_pixel": sum(equal),
        "iou_recovered": float(np.mean(ious)),
        "iou_mask": float(np.mean(mask_ious)),
        "area_px": float(np.mean(areas)),
        "area_error_recovered_px": float(np.mean(errors)),
        "area_error_mask_px": float(np.mean(mask_errors)),
    }


def draw(path: Path) -> None:
    """A large and a small cavity: the public mask, the expert's polygon, the recovered outline."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    for axes, (patient, number) in zip(figure.subplots(1, 2), SHOWN, strict=True):
        name = f"{patient}-IM-0001-{number:04d}.png"
        mask = read_mask(SOURCE / "masks" / name).of(Label.LV_CAVITY)[0, 0]
        expert = read_contour(contour_files(SOURCE / "contours" / patient, Label.LV_CAVITY)[number])
        image = read_picture(SOURCE / "images" / name)
        axes.imshow(image, cmap="gray", vmax=1.3 * float(image[mask].max()))
        axes.imshow(np.where(mask, 1.0, np.nan), cmap="autumn", alpha=0.35, vmin=0, vmax=1)
        for points, colour, label in (
            (expert, "#00a0ff", "expert's polygon"),
            (recover_outline(mask), "#60ff60", "recovered from the mask"),
        ):
            axes.plot(*np.concatenate([points, points[:1]]).T, color=colour, lw=1.4, label=label)
        middle, half = expert.mean(axis=0), np.ptp(expert, axis=0).max() * 0.75
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] + half, middle[1] - half)
        axes.set_axis_off()
        excess = 100 * (mask.sum() / coverage(expert, mask.shape).sum() - 1)
        axes.set_title(f"mask {excess:.0f} % larger than the polygon", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Judge both kinds, draw, save."""
    draw(PICTURES / "outlines.png")
    result = {kind: judge(folder, label) for kind, (folder, label) in KINDS.items()}
    for kind, figures in result.items():
        print(kind, figures)
    save("outlines", __doc__.split("\n\n")[1].replace("\n", " "), result)


if __name__ == "__main__":
    main()
