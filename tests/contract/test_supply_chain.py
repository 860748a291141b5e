"""Supply chain: pins and their hashes, licences of what is installed, the bill of materials."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from lvseg import dependencies
from lvseg.dependencies import Package, is_allowed
from lvseg.sbom import ShippedWeights, cyclonedx

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([\w.-]+)==([\w.+-]+)", re.MULTILINE)
#: Of two builds only one is right on a machine, and each has hashes of its own (tests/lock.sh).
WITHOUT_HASH = {"torch"}

WEIGHTS = ShippedWeights("lv-sax", "0.1.0", "ab" * 32, "Apache-2.0")


def pins(name: str) -> dict[str, str]:
    """Package in its normal form -> version."""
    found = PIN.findall((ROOT / name).read_text("utf-8"))
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_every_pin_but_that_of_torch_has_hashes() -> None:
    constraints, hashes = pins("constraints.txt"), pins("constraints-hashes.txt")
    assert set(constraints) - set(hashes) == WITHOUT_HASH
    assert {name: constraints[name] for name in hashes} == hashes, "run  bash tests/lock.sh"
    text = (ROOT / "constraints-hashes.txt").read_text("utf-8")
    for entry in re.split(r"\n(?=[\w])", text.partition("\nabsl")[2]):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [line for group in groups for line in group]
    names = {re.match(r"[\w.-]+", line)[0] for line in wanted}  # type: ignore[index]
    assert names - {"lvseg"} - set(pins("constraints.txt")) == set()


def test_every_optional_part_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(project["optional-dependencies"]) - {"all"} <= set(dependencies.PURPOSES)
    assert all(each.purpose for each in dependencies.optional_parts())


def test_every_licence_is_on_the_list() -> None:
    packages = dependencies.installed()
    assert packages[0].name == "lvseg"
    assert {"numpy", "pydicom"} <= {each.name for each in packages if not each.optional}
    assert {each.name: each.licence for each in packages if not each.allowed} == {}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT AND (GPL-2.0-only OR ISC)", True),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("LicenseRef-Proprietary", False),
        ("", False),
        (None, False),
    ],
)
def test_each_part_of_an_expression_must_offer_a_licence_of_the_list(
    licence: str | None, allowed: bool
) -> None:
    assert is_allowed(licence) is allowed


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "BSD 3-Clause License\n\nCopyright (c) somebody")], "BSD-3-Clause"),
        ([("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: BSD License")],
         "BSD License"),
        ([("Classifier", "Programming Language :: MIT")], None),
        ([], None),
    ],
)  # fmt: skip
def test_a_licence_is_found_wherever_a_package_states_it(
    fields: list[tuple[str, str]], licence: str | None
) -> None:
    from email.message import Message

    about = Message()
    for key, value in fields:
        about[key] = value.replace("\n", "\n ")
    assert dependencies.licence_of(about) == licence  # type: ignore[arg-type]


def made_up() -> tuple[Package, ...]:
    return (
        Package("lvseg", "1.0", "", "Apache-2.0", ("one", "two")),
        Package("one", "2.1+cpu", "first", "BSD License", ("two",)),
        Package("two", "3", "second", None, (), optional=True),
    )


def test_the_bill_of_materials_says_who_needs_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")  # 1970-01-02
    bill = cyclonedx(made_up(), (WEIGHTS,))
    assert bill["metadata"]["timestamp"] == "1970-01-02T00:00:00Z"
    one, two, model = bill["components"]
    assert one["purl"] == "pkg:pypi/one@2.1%2Bcpu"
    assert one["licenses"] == [{"license": {"name": "BSD License"}}]
    assert (one["scope"], two["scope"]) == ("required", "optional")
    assert two["licenses"] == []
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert needs["pkg:pypi/lvseg@1.0"] == [one["purl"], "pkg:pypi/two@3", "model:lv-sax@0.1.0"]
    assert needs[one["purl"]] == ["pkg:pypi/two@3"]
    assert cyclonedx(made_up(), (WEIGHTS,)) == bill
    other = cyclonedx(made_up()[:2], (WEIGHTS,))
    assert other["serialNumber"] != bill["serialNumber"]


@pytest.mark.parametrize("whole", [False, True], ids=["made up", "installed here"])
def test_the_bill_of_materials_keeps_the_schema_of_cyclonedx(whole: bool) -> None:
    pytest.importorskip("cyclonedx", reason="missing: cyclonedx-python-lib")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = cyclonedx(dependencies.installed() if whole else made_up(), (WEIGHTS,))
    text = json.dumps(bill)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"library"', '"librarian"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_everything_that_is_needed_is_in_the_bill() -> None:
    packages = {each.name: each for each in dependencies.installed()}
    assert packages["numpy"].version == metadata.version("numpy")
    assert "numpy" in packages["scipy"].needs
    assert not packages["numpy"].optional
