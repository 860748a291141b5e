"""Oracle: what must come of a layout, and what did.

The law: a cine that can be measured is the true one, and what is refused is refused by name. Beside
it stands a table of what each oddity alone must lead to; with several, no better than the worst of
them is promised.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import layout_files
import layout_nifti
import numpy as np
from layout_dicom import TRIGGERED
from layout_encoding import memory
from layout_model import DicomLayout, Layout
from layout_outcome import Outcome
from layout_rules import codes_of_all, unsaid
from layout_truth import Truth, differs

from lvseg.cine import Cine, Mask
from lvseg.errors import LvsegError
from lvseg.measurement import measure
from lvseg.read import list_series, read_study


@dataclass(frozen=True)
class Judged:
    """What came of one layout.

    :param codes: of the findings that are warnings or errors, and of facts that were noted.
    :param detail: the message of a refusal, or what is wrong.
    """

    outcome: Outcome
    codes: tuple[str, ...] = ()
    detail: str = ""


def try_layout(layout: Layout, *, listed: bool = False) -> Judged:
    """Write a layout, read it, and judge what came of it.

    :param listed: list its series as well: that must neither fail nor contradict the reader.
    """
    with TemporaryDirectory(dir=memory()) as folder:
        writer = layout_files if isinstance(layout, DicomLayout) else layout_nifti
        source, truths = writer.write(layout, Path(folder))
        try:
            chosen = sum(row.chosen for row in list_series(source)) if listed else None
        except LvsegError:
            chosen = 0
        except Exception:
            return Judged(Outcome.WRONG, (), _trace("list"))
        try:
            cine = read_study(source).short_axis()
        except LvsegError as error:
            return _refused(error, chosen)
        except Exception:
            return Judged(Outcome.WRONG, (), _trace("read"))
    return judge(layout, cine, truths)


def _trace(what: str) -> str:
    return f"{what}: {traceback.format_exc(limit=-2)}"


def _refused(error: LvsegError, chosen: int | None) -> Judged:
    text = str(error)
    if error.exit_code != 3 or "\n" in text:
        return Judged(Outcome.WRONG, (), f"exit {error.exit_code}: {text}")
    return Judged(Outcome.REFUSED, (type(error).__name__,), text)


def judge(layout: Layout, cine: Cine, truths: tuple[Truth, ...]) -> Judged:
    """Whether a cine is one of the true ones, and if not, whether it can be mistaken for one."""
    noticed = {issue.code: issue.severity for issue in cine.issues}
    codes = tuple(sorted(noticed))
    told = any(severity != "info" for severity in noticed.values())
    whys = [differs(truth, cine) for truth in truths]
    silent = ""
    if "" in whys:
        silent = unsaid(layout, set(codes), truths[whys.index("")].name)
    measured = _can_be_measured(cine)
    if not measured and told:
        return Judged(Outcome.NO_VOLUMES, codes)
    if not truths and told and set(codes) & codes_of_all(layout):
        return Judged(Outcome.FINDING, codes)
    if _only_perfusion(layout, truths) and noticed.get("not-one-heartbeat") == "warning":
        return Judged(Outcome.FINDING, codes)
    if "" not in whys:
        return Judged(Outcome.WRONG, codes, "; ".join(whys) or "no short axis was written")
    if silent:
        return Judged(Outcome.WRONG, codes, f"nothing is said of {silent}")
    return Judged(Outcome.FINDING if told else Outcome.EQUAL, codes)


def _only_perfusion(layout: Layout, truths: tuple[Truth, ...]) -> bool:
    """Whether perfusion is all that can be read: it is then measured as ``only: perfusion`` is."""
    if not isinstance(layout, DicomLayout) or "perfusion" not in layout.beside:
        return False
    unplaced = layout.objects == "multi-frame of all"
    untimed = layout.objects == "multi-frame a slice" and layout.times not in TRIGGERED
    return not truths or unplaced or untimed


def _can_be_measured(cine: Cine) -> bool:
    labels = np.zeros(cine.shape, np.uint8)
    for phase, frame in enumerate(labels):
        frame[:, 3:12, 3 : 14 - min(phase % 7, 4)] = 1
    values = measure(Mask(labels, tuple(range(cine.shape[0])), grid=cine.grid))
    return values.volume_ml is not None
