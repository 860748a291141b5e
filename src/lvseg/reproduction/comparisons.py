"""Differences of Dice between runs, with intervals bootstrapped by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lvseg.json_text import jsonable
from lvseg.metrics import bootstrap
from lvseg.reproduction.score import Row

RESAMPLES = 2000


def paired_difference(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Any]:
    """Mean difference of Dice and Jaccard of the same pictures, after - before.

    The 95 % intervals are bootstrapped by patient. No common picture: means of None.
    """
    earlier = {row.file: row for row in before}
    pairs = [(earlier[row.file], row) for row in after if row.file in earlier]
    owners = [row.patient_id for _, row in pairs]
    found: dict[str, Any] = {"pictures": len(pairs), "patients": len(set(owners))}
    for name in ("dice", "jaccard"):
        steps = [getattr(new, name) - getattr(old, name) for old, new in pairs]
        found[name] = float(np.mean(steps)) if steps else None
        found[f"{name}_ci95"] = bootstrap(steps, owners)
    values: dict[str, Any] = jsonable(found)
    return values


def unpaired_difference(
    leaking: Sequence[Row], honest: Sequence[Row], *, seed: int = 0
) -> dict[str, Any]:
    """Mean Dice on a leaking test set - mean Dice on an honest one, two sets of pictures.

    The 95 % interval draws the patients of each set anew, independently (Efron and Tibshirani
    1993, chapter 8). Fewer than two patients in a set: no interval.
    """
    generator = np.random.default_rng(seed)
    first, second = (_resampled(rows, generator) for rows in (leaking, honest))
    interval: tuple[float, ...] = (float("nan"), float("nan"))
    if first is not None and second is not None:
        interval = tuple(float(end) for end in np.percentile(first - second, [2.5, 97.5]))
    means = [float(np.mean([row.dice for row in rows])) for rows in (leaking, honest)]
    values: dict[str, Any] = jsonable(
        {
            "leaking": means[0],
            "honest": means[1],
            "gap": means[0] - means[1],
            "gap_ci95": interval,
            "leaking_patients": len({row.patient_id for row in leaking}),
            "honest_patients": len({row.patient_id for row in honest}),
        }
    )
    return values


def _resampled(rows: Sequence[Row], generator: np.random.Generator) -> np.ndarray | None:
    """Mean Dice of each of the drawn sets of patients, who bring all their pictures."""
    by_patient: dict[str, list[float]] = {}
    for row in rows:
        by_patient.setdefault(row.patient_id, []).append(row.dice)
    if len(by_patient) < 2:
        return None
    sums = np.array([sum(values) for values in by_patient.values()])
    counts = np.array([len(values) for values in by_patient.values()])
    drawn = generator.integers(len(sums), size=(RESAMPLES, len(sums)))
    result: np.ndarray = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return result


def paired_on_common(leaking: Sequence[Row], honest: Sequence[Row]) -> dict[str, Any]:
    """The gap on the same pictures: networks that knew and did not know their patients.

    See :func:`paired_difference`; ``dice`` is leaking - honest.
    """
    found: Mapping[str, Any] = paired_difference(honest, leaking)
    return {"gap" + key.removeprefix("dice"): found[key] for key in ("dice", "dice_ci95")} | {
        key: found[key] for key in ("pictures", "patients")
    }
