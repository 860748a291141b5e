"""Left-ventricle segmentation and measurement in short-axis cardiac cine MRI.

::

    study = lvseg.read_study("dicom_folder")
    result = lvseg.segment(study, lvseg.load_model())
    print(result.measurements.ef_percent)

    result = lvseg.segment(array, model, pixel_spacing_mm=(1.4, 1.4), slice_spacing_mm=8.0)
    print(result.to_dict(), result.row())

Names load when they are first used (PEP 562), so ``import lvseg`` is quick. Types for editors and
type checkers stand in ``__init__.pyi``.
"""

from importlib import import_module
from pathlib import Path

from lvseg.version import __version__

_HOME = {
    "Cine": "lvseg.cine",
    "LvsegError": "lvseg.errors",
    "Mask": "lvseg.cine",
    "Study": "lvseg.cine",
    "StudyResult": "lvseg.results",
    "dice": "lvseg.metrics",
    "hausdorff_mm": "lvseg.metrics",
    "jaccard": "lvseg.metrics",
    "measure": "lvseg.measurement",
    "read_study": "lvseg.read",
    "write_mask": "lvseg.write",
}

__all__ = ["__version__", "load_model", "segment", *_HOME]


def load_model(name_or_path=None, *, runtime="auto", threads=None):
    """Load a model by its shipped name or from a model folder, ready for :func:`segment`.

    :param name_or_path: None = the default model.
    :param runtime: ``"auto"``, ``"onnxruntime"`` or ``"openvino"``.
    :param threads: processor threads; None = all.
    :raises ModelError: missing, altered (hash) or broken.
    """
    model_store, predict = import_module("lvseg.model_store"), import_module("lvseg.predict")
    folder = model_store.locate(str(name_or_path or model_store.DEFAULT))
    return predict.load_model(folder, runtime=runtime, threads=threads)


def segment(study, model, *, pixel_spacing_mm=None, slice_spacing_mm=None):
    """Find the cavity of the left ventricle in a study, measure it and check the result.

    An array is grey values ``[phase, slice, row, column]``, of one phase ``[slice, row, column]``;
    other numbers of axes are refused, because they could mean several things. Slices are in order
    from the base to the apex or back. Without spacings there are no millilitres.

    :param study: a :class:`Study`, a path that :func:`read_study` reads, or an array.
    :param model: what :func:`load_model` returned.
    :param pixel_spacing_mm: of an array, (between rows, between columns).
    :param slice_spacing_mm: of an array, from centre to centre of neighbouring slices.
    :returns: :class:`StudyResult`.
    :raises LvsegError: the study cannot be read, or does not fit the model.
    """
    source = Path(study) if isinstance(study, str) else study
    if hasattr(source, "__array__"):
        source = import_module("lvseg.read").study_of_array(
            import_module("numpy").asarray(source),
            pixel_spacing_mm=pixel_spacing_mm,
            slice_spacing_mm=slice_spacing_mm,
        )
    elif pixel_spacing_mm is not None or slice_spacing_mm is not None:
        raise import_module("lvseg.errors").UsageError(
            "expected spacings beside an array only, found them beside a study that states its own"
        )
    return import_module("lvseg.pipeline").run(source, model)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'lvseg' has no attribute {name!r}")
    home = import_module(_HOME[name])
    return globals().setdefault(name, getattr(home, name))


def __dir__():
    return sorted(__all__)
