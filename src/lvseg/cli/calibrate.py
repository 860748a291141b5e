"""`lvseg calibrate`: fit what a trained model says of its own masks, on held-out patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import DatasetOption, optional_libraries
from lvseg.cli.output import Output, staged

if TYPE_CHECKING:
    from lvseg.train.calibrate import RunCalibration


@command("calibrate", example="lvseg calibrate run --data dataset")
def calibrate(
    out: Output,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of lvseg train.")],
    data: DatasetOption,
    split: Annotated[
        str | None,
        typer.Option(help="Held-out split names joined by '+'; default: the run's validation."),
    ] = None,
) -> int:
    """Fit the Dice to expect of a trained model's masks, and what usual images look like.

    Uses patients that did not train it, and writes RUN/calibration.json; lvseg export puts both
    on the model's card. Without them the model's results have no expected_dice. Needs the optional
    part 'train'.
    """
    with optional_libraries():
        from lvseg.train.calibrate import CALIBRATION
        from lvseg.train.calibrate import calibrate as fit

        with out.progress("calibrating") as bar:
            found = fit(run, data, split, progress=staged(bar))
    document = found.model_dump(mode="json", exclude={"samples"})
    out.result({"file": run / CALIBRATION, **document}, summary(run / CALIBRATION, found))
    return 0


def summary(file: Path, found: RunCalibration) -> str:
    """What was fitted, on whom, and how well it agrees with the truth."""
    limits = found.calibration
    lines = [f"{file}: {len(found.patients)} patients of {found.split}, {limits.slices} slices"]
    for name, each in (("slices", found.slices), ("studies", found.studies)):
        lines.append(
            f"{name}: Dice expected {each.expected_mean:.3f}, true {each.true_mean:.3f}, "
            f"bias {each.bias:+.3f}, mean absolute error {each.mae:.3f}"
        )
    lines.append(
        f"worth a look: studies below {limits.review_below:.3f}, slices below "
        f"{limits.slice_review_below:.3f}, images farther than "
        f"{found.feature_statistics.limit:.2f} from usual ones"
    )
    if found.slices.without_mask:
        lines.append(f"{found.slices.without_mask} more slices are without a mask, and not fitted")
    lines += [
        f"left out: patient {name}, whose reference lies beside the cavity (Dice {value:.2f})"
        for name, value in found.misplaced_references.items()
    ]
    return "\n".join(lines)
