"""Subject: sex, age, height and weight of the person where known; no name and no date."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Sex = Literal["F", "M"]
BsaFormula = Literal["mosteller", "du-bois"]

#: Formula -> how a result names it.
BSA_WORDS: Mapping[BsaFormula, str] = MappingProxyType(
    {
        "mosteller": "Mosteller, sqrt(height x weight / 3600)",
        "du-bois": "Du Bois, 0.007184 x height^0.725 x weight^0.425",
    }
)
#: What a person can have; anything else in a header is a placeholder or another unit.
HEIGHT_RANGE_CM, WEIGHT_RANGE_KG, AGE_RANGE_YEARS = (50.0, 230.0), (2.0, 350.0), (0.0, 120.0)


@dataclass(frozen=True, slots=True)
class Subject:
    """What body size and normal ranges depend on; None = unknown."""

    sex: Sex | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None


#: A person of whom nothing is known.
UNKNOWN = Subject()


def bsa_m2(height_cm: float, weight_kg: float, formula: BsaFormula = "mosteller") -> float:
    """Body surface area.

    ``mosteller``: sqrt(height x weight / 3600) (Mosteller, N Engl J Med 1987;317:1098).
    ``du-bois``: 0.007184 x height^0.725 x weight^0.425 (Du Bois and Du Bois, Arch Intern Med
    1916;17:863).

    >>> bsa_m2(180.0, 80.0), round(bsa_m2(180.0, 80.0, "du-bois"), 3)
    (2.0, 1.996)
    """
    if formula == "mosteller":
        return math.sqrt(height_cm * weight_kg / 3600)
    return float(0.007184 * height_cm**0.725 * weight_kg**0.425)
