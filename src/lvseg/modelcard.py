"""What a model file promises: its input, its output, where it comes from and what it scored.

A card is JSON text (:data:`CARD`) beside the weights (:data:`WEIGHTS`). Inference, training
and evaluation all read the same :class:`InputSpec`, so there is one description of preprocessing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lvseg.errors import ModelCardError, ModelHashError

__all__ = [
    "CARD",
    "WEIGHTS",
    "Calibration",
    "InputProfile",
    "InputSpec",
    "ModelCard",
    "OutputSpec",
    "TrainingData",
]

#: The two files of a model folder.
CARD = "card.json"
WEIGHTS = "model.onnx"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Strict):
    """How a frame becomes network input ``[N, 1, Y, X]`` float32.

    Each slice is scaled so that its ``low_percent`` and ``high_percent`` intensity percentiles
    over all its phases become 0 and 1, and clipped there; once for the whole frame, where the
    heart is looked for, and again for the window that is cut around it. In-plane spacing that is
    known and further than ``spacing_tolerance_percent`` from ``spacing_mm`` is resampled to it.
    """

    spacing_mm: float
    spacing_tolerance_percent: float = 5.0
    low_percent: float = 1.0
    high_percent: float = 99.0
    window_px: int = 128
    multiple_px: int = 16


class OutputSpec(_Strict):
    """Scores ``[N, 1, Y, X]`` are logits; a probability above ``threshold`` is LV cavity."""

    labels: tuple[str, ...] = ("LV_CAVITY",)
    activation: Literal["sigmoid"] = "sigmoid"
    threshold: float = 0.5


class Calibration(_Strict):
    """From the network's own doubt to the Dice to expect (:mod:`lvseg.quality.certainty`).

    Fitted on ``slices`` slices of ``patients`` patients whom the network that judged them had not
    seen. Below ``review_below`` a study, below ``slice_review_below`` a slice is worth a look.
    """

    intercept: float
    slope: float
    area_slope: float
    review_below: float
    slice_review_below: float
    patients: int
    slices: int


class InputProfile(_Strict):
    """What the training pictures look like (:mod:`lvseg.quality.likeness`).

    ``mean`` and ``precision`` (inverse covariance) are of its features; a study whose distance is
    above ``limit`` is unlike them.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float


class TrainingData(_Strict):
    """Which data taught the model. Hashes are SHA-256 of the image files, for leak checks."""

    name: str
    citation: str
    licence: str
    patients: tuple[str, ...]
    split: str
    image_sha256: tuple[str, ...] = ()


class ModelCard(_Strict):
    """The card. ``scores`` maps a protocol name to figures measured by ``lvseg evaluate``."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    sha256: str
    input: InputSpec
    output: OutputSpec
    training: TrainingData
    recipe: dict[str, str | int | float | bool | list[int] | list[float] | None] = {}
    parameters: int
    calibration: Calibration | None = None
    profile: InputProfile | None = None
    scores: dict[str, dict[str, float]] = {}
    licence: str = "Apache-2.0"
    intended_use: str
    limits: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Parse a card.

        :raises ModelCardError: not JSON, an unknown key, a missing or wrong value.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise ModelCardError(
                f"expected a model card of schema 1, found a fault in {where}: {first['msg']}"
            ) from error

    def check_weights(self, sha256: str, where: object) -> None:
        """Hold the weights to the card.

        :param sha256: of the bytes found; :param where: their place, for the message.
        :raises ModelHashError: they are not the ones the card was written for.
        """
        if sha256.lower() != self.sha256.lower():
            raise ModelHashError(
                f"expected weights with SHA-256 {self.sha256[:12]}..., found {sha256[:12]}... in "
                f"{where}: the file was changed or damaged; install or copy the model again"
            )

    def to_json(self) -> str:
        """The card as text, keys in the order of this class."""
        return self.model_dump_json(indent=1) + "\n"
