"""Evidence: the mask, the cine, the numbers and the prediction that the quality checks look at."""

from __future__ import annotations

from dataclasses import dataclass, field

from lvseg.cine import Cine, Mask
from lvseg.issues import Issue
from lvseg.modelcard import ModelCard
from lvseg.prediction import Prediction
from lvseg.quality.limits import Limits
from lvseg.quality.mask_features import MaskFeatures, compute_features
from lvseg.results import LVMeasurements


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Everything a check may look at; each check takes this and yields issues.

    :param mask: of the cine; ``measurements`` come from it.
    :param prediction: what the mask was made of, before clean-up; None for a mask from elsewhere.
    :param card: of the model that predicted.
    :param left_out: what the clean-up reported.
    :param features: of the mask, counted here once.
    """

    cine: Cine
    mask: Mask
    measurements: LVMeasurements
    prediction: Prediction | None = None
    card: ModelCard | None = None
    limits: Limits = field(default_factory=Limits)
    left_out: tuple[Issue, ...] = ()
    features: MaskFeatures = field(init=False)

    def __post_init__(self) -> None:
        features = compute_features(self.cine, self.mask, self.measurements)
        object.__setattr__(self, "features", features)
