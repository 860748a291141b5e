from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from lvseg.cine import Cine as Cine
from lvseg.cine import Mask as Mask
from lvseg.cine import Study as Study
from lvseg.errors import LvsegError as LvsegError
from lvseg.measurement import measure as measure
from lvseg.metrics import dice as dice
from lvseg.metrics import hausdorff_mm as hausdorff_mm
from lvseg.metrics import jaccard as jaccard
from lvseg.predict import Predictor
from lvseg.read import read_study as read_study
from lvseg.results import StudyResult as StudyResult
from lvseg.version import __version__ as __version__
from lvseg.write import write_mask as write_mask

def load_model(
    name_or_path: str | Path | None = None,
    *,
    runtime: Literal["auto", "onnxruntime", "openvino"] = "auto",
    threads: int | None = None,
) -> Predictor: ...
def segment(
    study: Study | str | Path | NDArray[Any],
    model: Predictor,
    *,
    pixel_spacing_mm: tuple[float, float] | None = None,
    slice_spacing_mm: float | None = None,
) -> StudyResult: ...
