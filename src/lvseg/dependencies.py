"""Dependencies: the packages that lvseg needs, what of them is installed, and their licences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: What each optional part is for; nobody needs one who does not do that.
PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "openvino": "the quicker inference engine, and models in eight-bit integers",
        "train": "training, calibrating and exporting models of your own",
        "int8": "exporting models in eight-bit integers",
        "table": "tables as Parquet and XLSX",
        "web": "the reading desk in the browser",
        "ray": "batches on several machines",
        "test": "the tests of lvseg itself",
    }
)
#: Licences that a dependency may have, by their SPDX names: permissive ones, and those that ask
#: for the source of changed files only. "BSD License": one of the BSD family, it is not said which.
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD License", "BSD-2-Clause"),
        *("BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0"),
        *("Unlicense", "Zlib"),
    }
)
#: Packages by the beginning of their names whose licence is not on the list, and why they may stay.
EXEMPT: Mapping[str, str] = MappingProxyType(
    {"nvidia-": "CUDA libraries of a GPU build of torch; lvseg neither ships nor needs them"}
)
#: Free text that packages state in place of an SPDX name, in small letters.
_SPDX: Mapping[str, str] = MappingProxyType(
    {
        "mit": "MIT",
        "mit license": "MIT",
        "the mit license (mit)": "MIT",
        "apache 2.0": "Apache-2.0",
        "apache license 2.0": "Apache-2.0",
        "apache-2.0": "Apache-2.0",
        "apache software license": "Apache-2.0",
        "bsd": "BSD License",
        "bsd license": "BSD License",
        "bsd-2-clause": "BSD-2-Clause",
        "bsd 2-clause license": "BSD-2-Clause",
        "bsd-3-clause": "BSD-3-Clause",
        "bsd 3-clause license": "BSD-3-Clause",
        "3-clause bsd license": "BSD-3-Clause",
        "isc license": "ISC",
        "isc license (iscl)": "ISC",
        "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
        "mpl-2.0": "MPL-2.0",
        "mpl-2.0 and mit": "MPL-2.0 AND MIT",
        "psfl": "PSF-2.0",
        "python software foundation license": "PSF-2.0",
    }
)


@dataclass(frozen=True, slots=True)
class Package:
    """One installed package.

    :param name: in its normal form (PEP 503).
    :param licence: SPDX expression, or the words that stand for one; None: it states none that
        is known.
    :param needs: names of the installed packages that it asks for, sorted.
    :param optional: only an optional part of lvseg needs it.
    """

    name: str
    version: str
    summary: str
    licence: str | None
    needs: tuple[str, ...] = ()
    optional: bool = False

    @property
    def allowed(self) -> bool:
        """Whether its licence is on the list :data:`ALLOWED`, or it is :data:`EXEMPT`."""
        return is_allowed(self.licence) or self.name.startswith(tuple(EXEMPT))


@dataclass(frozen=True, slots=True)
class OptionalPart:
    """An extra of lvseg: what it is for, and its packages that are not installed."""

    name: str
    purpose: str
    missing: tuple[str, ...]


def requirements() -> list[tuple[str, str]]:
    """Every package that lvseg asks for, as (name, extra or ""); "all" joins the others."""
    found = []
    for need in _needs("lvseg"):
        if canonicalize_name(need.name) != "lvseg":
            extras = [each for each in _extras("lvseg") if each != "all" and _applies(need, each)]
            found += [(need.name, extra) for extra in ([""] if _applies(need, "") else extras)]
    return found


def versions() -> dict[str, str | None]:
    """Installed versions of what lvseg asks for, optional parts included; None: not installed."""
    return {name: _version(name) for name, _ in requirements()}


def missing() -> tuple[str, ...]:
    """What lvseg cannot do without and does not find."""
    return tuple(name for name, extra in requirements() if not extra and not _version(name))


def optional_parts() -> tuple[OptionalPart, ...]:
    """The optional parts, by name."""
    absent: dict[str, list[str]] = {}
    for name, extra in requirements():
        if extra:
            absent.setdefault(extra, []).extend([] if _version(name) else [name])
    return tuple(
        OptionalPart(extra, PURPOSES.get(extra, ""), tuple(names))
        for extra, names in absent.items()
    )


def installed(root: str = "lvseg") -> tuple[Package, ...]:
    """A package and everything installed that it needs in turn: itself first, then by name.

    Of the root every optional part counts, of the others what is asked for.

    :raises importlib.metadata.PackageNotFoundError: the root is not installed.
    """
    required = _closure(root, ())
    found = []
    for name, needs in _closure(root, _extras(root)).items():
        about = metadata.metadata(name)
        summary, licence = _field(about, "Summary"), licence_of(about)
        optional = name not in required
        own = (canonicalize_name(name), metadata.version(name), summary, licence)
        found.append(Package(*own, tuple(sorted(needs)), optional))
    first = canonicalize_name(root)
    return tuple(sorted(found, key=lambda each: (each.name != first, each.name)))


def licence_of(about: metadata.PackageMetadata) -> str | None:
    """The licence that the metadata of a package state, as SPDX names it.

    Its expression (PEP 639), or else the field of old, if that is short, or else the classifiers.
    None: none of them says anything known.
    """
    expression = _field(about, "License-Expression")
    if expression:
        return expression
    stated = _field(about, "License").strip().splitlines()[:1]
    for classifier in about.get_all("Classifier") or []:
        kind, _, words = classifier.rpartition(" :: ")
        stated += [words] if kind.startswith("License") else []
    known = (_SPDX.get(words.strip().lower()) for words in stated)
    return next((name for name in known if name is not None), None)


def is_allowed(licence: str | None) -> bool:
    """Whether every part of an SPDX expression offers a licence of :data:`ALLOWED`.

    Brackets are not followed: what stands between two ``AND`` is a choice.

    >>> is_allowed("MIT AND (GPL-2.0-only OR ISC)"), is_allowed("MIT AND GPL-2.0-only")
    (True, False)
    """
    if licence is None:
        return False
    parts = licence.replace("(", "").replace(")", "").split(" AND ")
    return all(any(each.strip() in ALLOWED for each in part.split(" OR ")) for part in parts)


def _closure(root: str, extras: Iterable[str]) -> dict[str, set[str]]:
    """Installed packages reached from a root with these extras -> those they ask for."""
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    first = canonicalize_name(root)
    todo = [(first, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        needs = found.setdefault(name, set())
        for need in _needs(name):
            other = canonicalize_name(need.name)
            if other == name or not _applies(need, extra) or not _version(other):
                continue
            needs.add(other)
            todo += [(other, each) for each in ("", *need.extras)]
    return found


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return str(([*(about.get_all(name) or ()), ""])[0])


def _needs(name: str) -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(name) or []]


def _extras(name: str) -> tuple[str, ...]:
    return tuple(metadata.metadata(name).get_all("Provides-Extra") or ())


def _applies(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
