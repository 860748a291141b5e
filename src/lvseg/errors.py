"""Exceptions of lvseg: one class a kind of failure, each with its exit code.

::

    LvsegError
      UsageError          MissingExtraError (also an ImportError)  DivergedError
      ReadError           NotACineError (LabelMapError)  InconsistentStackError
                          UnsupportedEncodingError  LimitError  StudyLimitError
                          AlteredResultError
      GeometryError       UnknownSpacingError  IrregularStackError  GeometryMismatchError
      ModelError          ModelCardError  ModelHashError  ModelInputError
      MeasureError        PhaseError
      DatasetError        PatientLeakError
      WorkerLostError

The text of an error is one line that answers: what was expected, what was found, where, and what
to do. ``exit_code`` is the process exit status of the command line (README, "Exit codes").
"""

from __future__ import annotations

from typing import ClassVar


class LvsegError(Exception):
    """Root of everything this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(LvsegError):
    """The request itself is wrong: an option, a combination, an existing output."""

    exit_code = 2


class MissingExtraError(UsageError, ImportError):
    """A feature needs an optional library that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(
            f"{feature} needs the optional part '{extra}', which is not installed: "
            f"run  pip install 'lvseg[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.feature, self.extra)  # from one process to another


class DivergedError(UsageError):
    """A training broke down: its loss is no number any more."""


class ReadError(LvsegError):
    """An input cannot be read, or is not what was asked for."""

    exit_code = 3


class NotACineError(ReadError):
    """The input is readable but is no short-axis study."""


class LabelMapError(NotACineError):
    """The input holds the labels of a mask, not grey values."""


class InconsistentStackError(ReadError):
    """Slices that should form one stack contradict each other."""


class UnsupportedEncodingError(ReadError):
    """The pixels are stored in a way that no installed decoder reads."""


class LimitError(ReadError):
    """An input is larger than a limit of the settings allows."""


class StudyLimitError(ReadError):
    """A study took longer, or more memory, than it may."""

    @classmethod
    def memory(cls, source: str, limit_bytes: float | None) -> StudyLimitError:
        """The error of a study that asked for too much memory.

        :param limit_bytes: None = no limit was set, the system had no more.
        """
        most = "what there is" if limit_bytes is None else f"{limit_bytes / 1e9:.1f} GB"
        return cls(
            f"expected a study that needs at most {most} of memory, found one that needs more in "
            f"{source}: give it alone with a larger --memory-limit"
        )

    @classmethod
    def time(cls, source: str, limit_s: float) -> StudyLimitError:
        """The error of a study that took too long."""
        return cls(
            f"expected a study that takes at most {limit_s:g} s, found no end by then in {source}: "
            "give it alone with a longer --study-timeout"
        )


class AlteredResultError(ReadError):
    """The files of a result are not those that its manifest names."""


class GeometryError(LvsegError):
    """Positions, spacings or shapes do not fit."""

    exit_code = 3


class UnknownSpacingError(GeometryError):
    """A length in millimetres was asked for where no spacing is known."""


class IrregularStackError(GeometryError):
    """One spacing or one affine was asked for, and the stack has none."""


class GeometryMismatchError(GeometryError):
    """Two objects that must share a grid do not."""


class ModelError(LvsegError):
    """The model is missing or unfit."""

    exit_code = 5


class ModelCardError(ModelError):
    """The card beside a model is absent or breaks the schema."""


class ModelHashError(ModelError):
    """The weights are not the ones the card was written for."""


class ModelInputError(ModelError):
    """The input does not fit what the model was made for."""


class MeasureError(LvsegError):
    """A physiological quantity cannot be computed."""

    exit_code = 3


class PhaseError(MeasureError):
    """End-diastole and end-systole cannot be told apart."""


class DatasetError(LvsegError):
    """A data set folder is broken."""

    exit_code = 3


class PatientLeakError(DatasetError):
    """A patient is on both sides of a split."""

    def __init__(self, patients: tuple[str, ...], where: str) -> None:
        self.patients = patients
        super().__init__(
            f"splits must be by patient: {len(patients)} patient(s) stand in more than one split "
            f"of {where}: {', '.join(patients)}; give each patient one split in manifest.csv"
        )


class WorkerLostError(LvsegError):
    """A worker process ended before the study did; so did a second one."""

    def __init__(self, source: str, how: str) -> None:
        super().__init__(
            f"expected a result of {source}, found the process that worked on it ended twice "
            f"({how}): give it alone with --debug and report it"
        )
