"""Software bill of materials (SBOM): installed packages and models as CycloneDX 1.6 JSON.

It names the Python packages that are installed here, at the versions found, and the models. What
a wheel of another project contains (OpenBLAS, libjpeg and the like) is not taken apart.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from lvseg.dependencies import Package
from lvseg.json_text import json_text
from lvseg.version import __version__

#: https://cyclonedx.org/docs/1.6/json/
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
#: Name space of the serial numbers: the same contents have the same number.
_SERIALS = uuid.uuid5(uuid.NAMESPACE_URL, _SCHEMA)


@dataclass(frozen=True, slots=True)
class ShippedWeights:
    """A model of the package: name, version, SHA-256 of its weights, licence."""

    name: str
    version: str
    sha256: str
    licence: str


def cyclonedx(packages: Sequence[Package], models: Sequence[ShippedWeights] = ()) -> dict[str, Any]:
    """The bill of materials as a JSON object.

    The time in it is that of SOURCE_DATE_EPOCH (seconds), where it is set, or else now; nothing
    else differs between two bills of the same installation.

    :param packages: the root first (:func:`lvseg.dependencies.installed`).
    """
    root, *others = packages
    components = [_component(each) for each in others] + [_model(each) for each in models]
    depends = [{"ref": _purl(each), "dependsOn": _refs(each, packages)} for each in packages]
    depends[0]["dependsOn"] = [*depends[0]["dependsOn"], *map(_model_ref, models)]
    body = {
        "metadata": {
            "timestamp": _now().isoformat(timespec="seconds").replace("+00:00", "Z"),
            "tools": {
                "components": [{"type": "application", "name": "lvseg", "version": __version__}]
            },
            "component": _component(root) | {"type": "application"},
        },
        "components": components,
        "dependencies": [*depends, *({"ref": _model_ref(each)} for each in models)],
    }
    serial = uuid.uuid5(_SERIALS, json_text([components, depends]))
    head = {"$schema": _SCHEMA, "bomFormat": "CycloneDX", "specVersion": "1.6"}
    return {**head, "serialNumber": serial.urn, "version": 1, **body}


def _component(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "description": package.summary,
        "scope": "optional" if package.optional else "required",
        "purl": _purl(package),
    }
    return found | {"licenses": _licences(package.licence)}


def _licences(licence: str | None) -> list[dict[str, Any]]:
    """A choice of licences (CycloneDX 1.6, licenseChoice): an SPDX expression, or a name."""
    if licence is None:
        return []
    if re.fullmatch(r"[\w.+-]+( (AND|OR|WITH) [(]?[\w.+-]+[)]?)*", licence):
        return [{"expression": licence}]
    return [{"license": {"name": licence}}]


def _model(model: ShippedWeights) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _model_ref(model),
        "name": model.name,
        "version": model.version,
        "hashes": [{"alg": "SHA-256", "content": model.sha256}],
        "licenses": _licences(model.licence),
    }


def _purl(package: Package) -> str:
    """Package URL; the version is percent-encoded, as its rules ask."""
    return f"pkg:pypi/{package.name}@{quote(package.version, safe='')}"


def _model_ref(model: ShippedWeights) -> str:
    return f"model:{model.name}@{model.version}"


def _refs(package: Package, packages: Sequence[Package]) -> list[str]:
    return [_purl(each) for each in packages if each.name in package.needs]


def _now() -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
