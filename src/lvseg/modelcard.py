"""Model card: the input and output of a model, its training data, calibration and scores.

A card is JSON text (:data:`CARD`) beside the weights (:data:`WEIGHTS`). Inference, training
and evaluation all read the same :class:`InputSpec`, so there is one description of preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from lvseg.errors import ModelCardError, ModelHashError
from lvseg.labels import Label
from lvseg.names import printable

#: The two files of a model folder.
CARD = "card.json"
WEIGHTS = "model.onnx"


#: The smallest side of a crop in which a ventricle has room.
SMALLEST_CROP_PX = 16
#: How many of something.
Count = Annotated[int, Field(ge=0)]


def _in_one_line(text: str) -> str:
    if not text.strip() or text != printable(" ".join(text.split())):
        raise ValueError("must be one line of letters and signs")
    return text


#: What stands in results, reports and DICOM objects.
Name = Annotated[str, Field(max_length=200), AfterValidator(_in_one_line)]


class StrictModel(BaseModel):
    """Frozen options of JSON or TOML: an unknown key is refused, a renamed one by its new name.

    :param renamed: old key -> new key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, values: Any) -> Any:
        for old, new in cls.renamed.items():
            if isinstance(values, dict) and old in values:
                raise ValueError(f"'{old}' is called '{new}' now")
        return values


class InputSpec(StrictModel):
    """How a frame becomes network input ``[N, C, Y, X]`` float32, C = input channels.

    Each slice is scaled so that its ``low_percent`` and ``high_percent`` intensity percentiles
    over all its phases become 0 and 1, and clipped there; once for the whole frame, where the
    heart is looked for, and again for the crop around it. In-plane spacing that is known and
    further than ``spacing_tolerance_percent`` from ``spacing_mm`` is resampled to it.

    :param channels: what each input channel shows, by the names of
        :data:`lvseg.preprocess.CHANNELS`.
    """

    renamed: ClassVar[Mapping[str, str]] = {"window_px": "crop_px"}

    channels: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)] = ("frame",)

    spacing_mm: Annotated[float, Field(ge=0.1, le=10)]
    spacing_tolerance_percent: Annotated[float, Field(ge=0, le=50)] = 5.0
    low_percent: Annotated[float, Field(ge=0, lt=100)] = 1.0
    high_percent: Annotated[float, Field(gt=0, le=100)] = 99.0
    crop_px: Annotated[int, Field(ge=SMALLEST_CROP_PX, le=1024)] = 128
    multiple_px: Annotated[int, Field(ge=1, le=256)] = 16

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low_percent >= self.high_percent:
            raise ValueError("low_percent must be below high_percent")
        if self.crop_px % self.multiple_px:
            raise ValueError(f"crop_px must be a multiple of {self.multiple_px}, its multiple_px")
        return self


def _known_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    known = [label.name for label in Label if label]
    if not names or len({*names}) != len(names) or not set(names) <= set(known):
        raise ValueError(f"must be some of {', '.join(known)}, each once")
    return names


#: Names of :class:`lvseg.labels.Label` but the background, the innermost structure first.
LabelNames = Annotated[tuple[str, ...], AfterValidator(_known_labels)]


class OutputSpec(StrictModel):
    """What the scores ``[N, C, Y, X]``, logits, mean: one channel a label.

    :param labels: names of :class:`lvseg.labels.Label`, the innermost structure first. The
        probability of channel ``c`` is that of lying inside the outer boundary of label ``c``, so
        structures are nested; above ``threshold`` a pixel lies inside.
    """

    labels: LabelNames = (Label.LV_CAVITY.name,)
    activation: Literal["sigmoid"] = "sigmoid"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


#: (lowest, highest) error.
Errors = tuple[float, float]


class Intervals(StrictModel):
    """How far measured values lie from the true ones (:mod:`lvseg.intervals`).

    Errors are signed, measured less true, those of ``*_percent`` in percent of the true value.
    Between the lowest and the highest lies the error of a new study with the stated coverage; None
    where it is not known. Fitted on ``studies`` studies of patients whom the network that measured
    them had not seen. An interval of a study unlike the training data is ``widening_unlike`` times
    as wide; None: it has none.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    edv_percent: Errors | None = None
    esv_percent: Errors | None = None
    ef_points: Errors | None = None
    mass_percent: Errors | None = None
    widening_unlike: Annotated[float, Field(ge=1)] | None = 2.0
    studies: Count

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("edv_percent", "esv_percent", "ef_points", "mass_percent"):
            errors = getattr(self, name)
            least = -float("inf") if name == "ef_points" else -100
            if errors is not None and not least < errors[0] <= errors[1] < float("inf"):
                raise ValueError(
                    f"{name} must be the lowest and the highest error, above {least}, not {errors}"
                )
        return self


class Calibration(StrictModel):
    """From the network's own doubt to the Dice to expect (:mod:`lvseg.quality.confidence`).

    Fitted on ``slices`` slices of ``patients`` patients whom the network that judged them had not
    seen. Below ``review_below`` a study, below ``slice_review_below`` a slice is worth a look.

    :param intervals: the errors of the measured values; None: they have no intervals.
    """

    intercept: float
    slope: float
    area_slope: float
    review_below: float
    slice_review_below: float
    patients: Count
    slices: Count
    intervals: Intervals | None = None


class FeatureStatistics(StrictModel):
    """What the training images look like, for the check of :mod:`lvseg.quality.ood`.

    ``mean`` and ``precision`` (inverse covariance) are of its features; a study whose distance is
    above ``limit`` is unlike them.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _square(self) -> Self:
        sizes = {len(self.precision), *map(len, self.precision)}
        if sizes != {len(self.mean)}:
            raise ValueError("precision must have as many rows and columns as mean has values")
        return self


class TrainingData(StrictModel):
    """Which data trained the model, as its ``dataset.json`` says; "unknown" where it does not.

    :param outline_rule: how the reference contours were drawn and filled.
    :param image_sha256: SHA-256 of the image files, for leak checks.
    """

    name: str = "unknown"
    citation: str = "unknown"
    licence: str = "unknown"
    centre: str = "unknown"
    outline_rule: str = "unknown"
    limits: tuple[str, ...] = ()
    patients: tuple[str, ...]
    split: str
    image_sha256: tuple[str, ...] = ()


def _of_schema_2(card: Any) -> Any:
    """A card of schema 1 with the names of schema 2; anything else as it is."""
    if not isinstance(card, dict) or card.get("schema_version", 1) != 1:
        return card
    renamed = {ModelCard.renamed.get(key, key): value for key, value in card.items()}
    if isinstance(card.get("input"), dict):
        inputs = card["input"].items()
        renamed["input"] = {InputSpec.renamed.get(key, key): value for key, value in inputs}
    return renamed | {"schema_version": 2}


class ModelCard(StrictModel):
    """The card. ``scores`` maps a protocol name to figures measured by ``lvseg evaluate``."""

    renamed: ClassVar[Mapping[str, str]] = {"profile": "feature_statistics"}

    schema_version: Literal[2] = 2
    name: Name
    version: Name
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    input: InputSpec
    output: OutputSpec
    training: TrainingData
    recipe: dict[str, str | int | float | bool | list[int] | list[float] | None] = {}
    parameters: Count
    calibration: Calibration | None = None
    feature_statistics: FeatureStatistics | None = None
    scores: dict[str, dict[str, float]] = {}
    licence: str = "Apache-2.0"
    intended_use: str
    limits: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[Label, ...]:
        """What the channels of the output mean, the innermost structure first."""
        return tuple(Label[name] for name in self.output.labels)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Parse a card of schema 2 or 1.

        :raises ModelCardError: not JSON, an unknown key, a missing or wrong value.
        """
        try:
            return cls.model_validate(_of_schema_2(from_json(text)))
        except ValueError as error:
            if not isinstance(error, ValidationError):
                raise ModelCardError(f"expected a model card, found no JSON: {error}") from error
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise ModelCardError(
                f"expected a model card of schema 1 or 2, found a fault in {where}: {first['msg']}"
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
