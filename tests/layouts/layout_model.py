"""Layout: every way a study is written that the reader is tried on, one field an axis of variation.

The first value of an axis is the ordinary one. A layout is written by :mod:`layout_dicom` or
:mod:`layout_nifti`, and :mod:`layout_oracle` says what must come of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar


def axis(*values: Any) -> Any:
    """A field that takes one of these values, the ordinary one first."""
    return field(default=values[0], metadata={"values": values})


#: All orders and signs of three axes: (where each axis of the array comes from, its sign).
AXIS_ORDERS = tuple(
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
)


@dataclass(frozen=True)
class DicomLayout:
    """How one DICOM study is written; ``seed`` chooses orientation, spacing and shuffles."""

    kind: ClassVar[str] = "dicom"

    seed: int = 0
    slices: int = axis(5, 3, 4, 6, 2)
    phases: int = axis(6, 4, 8, 12, 2)
    objects: str = axis(
        "single-frame",
        "multi-frame a slice",
        "multi-frame of all",
        "enhanced",
        "enhanced a slice",
        "enhanced a phase",
    )
    series: str = axis(
        "one", "a slice", "a phase", "a file", "two slices", "three slices", "odd and even"
    )
    names: str = axis("in order", "shuffled", "reversed", "without ending")
    container: str = axis(
        "folder",
        "folder a series",
        "deep folders",
        "zip",
        "zip in zip",
        "tar",
        "tar.gz",
        "gzipped files",
        "DICOMDIR beside",
        "DICOMDIR given",
        "linked folder",
    )
    syntax: str = axis(
        "explicit little endian",
        "implicit little endian",
        "explicit big endian",
        "deflated",
        "RLE",
        "JPEG lossless",
        "JPEG lossless SV1",
        "JPEG-LS",
        "JPEG 2000 lossless",
        "without preamble",
        "stated wrongly",
    )
    numbers: str = axis(
        "slice by slice",
        "phase by phase",
        "restart a slice",
        "random",
        "backwards",
        "absent",
        "all equal",
    )
    times: str = axis(
        "trigger",
        "trigger of each slice",
        "temporal position",
        "acquisition time",
        "content time",
        "trigger all zero",
        "trigger all alike",
        "trigger absent in one slice",
        "none",
    )
    gap: str = axis("none", "one slice", "two slices", "at an end")
    tilt_degrees: float = axis(0.0, 0.03, 0.3, 0.8, 4.0, 25.0)
    repeat: str = axis(
        "none",
        "later",
        "later, lower number",
        "a third of a step away",
        "three slices",
        "incomplete",
        "copied files",
        "copied, new UIDs",
    )
    second: str = axis(
        "none",
        "3 mm away, 25 min later",
        "in place, 25 min later",
        "half a step away",
        "0.3 degrees off",
        "2 degrees off",
    )
    beside: tuple[str, ...] = axis(
        (),
        ("long axis",),
        ("coronal",),
        ("axial",),
        ("localizer",),
        ("perfusion",),
        ("flow",),
        ("late enhancement",),
        ("T1 map",),
        ("CT",),
        ("long axis", "localizer", "flow"),
        ("coronal", "perfusion", "late enhancement"),
    )
    only: str = axis("short axis", "axial", "long axis", "perfusion", "localizer", "one phase")
    sequence: str = axis("one name", "varies", "absent")
    matrix: str = axis("one size", "narrower from the middle", "one slice narrower")
    turned: str = axis("no", "one slice by 90 degrees", "one slice by 180 degrees")
    spacing: str = axis("stated", "absent", "of a metre", "of a nanometre", "one slice differs")
    rescale: str = axis("none", "a slope for each slice", "intercept")
    modality: str = axis("MR", "absent")
    cosines: str = axis("six decimals", "three decimals", "two decimals", "not square", "absent")
    positions: str = axis("stated", "absent", "all equal")
    counts: str = axis("equal", "fewer in two slices", "cut in one slice")
    pixels: str = axis("16 bits", "12 bits", "8 bits", "signed", "inverted")
    frame_of_reference: str = axis("one", "absent", "one a series")
    studies: str = axis("one", "no UID", "one a series")
    uids: str = axis("right", "no SOP instance UID", "one SOP instance UID")
    lost: str = axis("nothing", "one file", "half a file")
    interval: str = axis("absent", "stated", "differs")
    image_type: str = axis("original", "derived", "absent")


@dataclass(frozen=True)
class NiftiLayout:
    """How one cine is written as NIfTI; ``seed`` chooses orientation and spacing."""

    kind: ClassVar[str] = "nifti"

    seed: int = 0
    slices: int = axis(5, 3, 4, 6, 8)
    phases: int = axis(6, 4, 8, 12, 2)
    axes: tuple[tuple[int, ...], tuple[int, ...]] = axis(*AXIS_ORDERS)
    forms: str = axis(
        "both",
        "qform",
        "sform",
        "neither",
        "sform of zeros",
        "sform 20 % shorter",
        "qform 20 % shorter",
        "identity",
        "sheared",
    )
    units: str = axis(
        "mm", "unknown", "metre", "micron", "metre over millimetres", "micron over millimetres"
    )
    time_units: str = axis("sec", "msec", "usec", "unknown", "no step")
    dialect: str = axis("nifti1", "nifti2", "pair of files", "big endian")
    packing: str = axis("plain", "gz", "zip", "deep folders", "label map beside")
    values: str = axis("int16", "uint8", "uint16", "int32", "float32", "float64", "scaled")
    shape: str = axis("4D", "5D", "one phase")
    steps: str = axis("thick slices", "equal pixels", "cubes", "thin slices")


Layout = DicomLayout | NiftiLayout


def axes_of(kind: type[Layout]) -> dict[str, tuple[Any, ...]]:
    """Axis -> its values, the ordinary one first."""
    return {f.name: f.metadata["values"] for f in fields(kind) if "values" in f.metadata}


def odd_values(layout: Layout) -> dict[str, Any]:
    """The axes on which a layout is not ordinary."""
    return {
        name: getattr(layout, name)
        for name, values in axes_of(type(layout)).items()
        if getattr(layout, name) != values[0]
    }


def singles(kind: type[Layout], seed: int = 0) -> Iterator[Layout]:
    """The ordinary layout, and every layout that differs from it on one axis."""
    yield kind(seed=seed)
    for name, values in axes_of(kind).items():
        for value in values[1:]:
            yield replace(kind(seed=seed), **{name: value})


def pairs(kind: type[Layout], seed: int = 0) -> Iterator[Layout]:
    """Every layout that differs from the ordinary one on two axes."""
    for (one, some), (other, others) in itertools.combinations(axes_of(kind).items(), 2):
        for value, second in itertools.product(some[1:], others[1:]):
            yield replace(kind(seed=seed), **{one: value, other: second})


#: Takes one of a sequence; a random number generator or Hypothesis behind it.
Choose = Callable[[Sequence[Any]], Any]


def draw(choose: Choose) -> Layout:
    """A layout with up to five odd axes; the first choice at each step is the plainest."""
    kind = choose((DicomLayout, DicomLayout, DicomLayout, NiftiLayout))
    axes = axes_of(kind)
    odd = {}
    for _ in range(choose((0, 1, 2, 2, 3, 3, 4, 5))):
        name = choose(tuple(axes))
        odd[name] = choose(axes[name][1:])
    return plain(kind(seed=choose(range(32)), **odd))


def plain(layout: Layout) -> Layout:
    """The same layout without oddities that show nothing beside its others."""
    if isinstance(layout, NiftiLayout):
        still = layout.shape == "one phase"
        return replace(layout, time_units="sec", phases=6) if still else layout
    odd: dict[str, Any] = {}
    if layout.only != "short axis":
        odd |= dict.fromkeys(("gap", "repeat", "second", "counts"), "none") | {"counts": "equal"}
        odd |= {"tilt_degrees": 0.0, "matrix": "one size", "turned": "no", "series": "one"}
        odd |= {"objects": "single-frame", "lost": "nothing", "studies": "one"}
    if layout.slices < 4:
        odd |= {"gap": "none"}
    if layout.times in ("none", "trigger all zero", "trigger all alike"):
        odd |= {"numbers": "random" if layout.numbers == "backwards" else layout.numbers}
    if layout.phases < 6 or layout.gap != "none" or layout.slices < 4:
        odd |= {"counts": "equal"}
    if layout.gap in ("one slice", "two slices") or layout.slices < 3:
        odd |= {"tilt_degrees": 0.0, "turned": "no", "matrix": "one size"}
    if layout.tilt_degrees or layout.second.endswith("off"):
        odd |= {"turned": "no", "matrix": "one size"}
    if layout.turned != "no":
        odd |= {"matrix": "one size"}
    if layout.objects != "single-frame":
        odd |= {"syntax": layout.syntax if layout.syntax != "stated wrongly" else "deflated"}
    if layout.objects == "multi-frame of all" and layout.rescale.startswith("a slope"):
        odd |= {"rescale": "none"}
    return replace(layout, **odd)
