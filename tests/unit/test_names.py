"""Names: bytes in, a readable name out that every file system takes; no two alike."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvseg.names import LONGEST_NAME_BYTES, readable, safe_name, told_apart, unique


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SCD0000101", "SCD0000101"),
        ("a b/c\\d:e", "a_b_c_d_e"),
        ("../..", "study"),
        (".hidden", "hidden"),
        ("", "study"),
        ("..", "study"),
        ("a/b\\c", "a_b_c"),
        ("...", "study"),
        ("Übung-1.2", "Übung-1.2"),
        ("con", "con_"),
        ("NUL.txt", "NUL.txt_"),
        ("x\x00\ny", "x_y"),
    ],
)
def test_names_are_safe_as_one_path_component(name: str, expected: str) -> None:
    assert safe_name(name) == expected
    assert Path(safe_name(name)).name == safe_name(name)
    assert safe_name(name) not in {"", ".", ".."}


def test_names_fit_the_file_system() -> None:
    assert len(safe_name("x" * 1000)) == 100


def test_equal_names_get_numbers_that_collide_with_nothing() -> None:
    taken: set[str] = set()
    found = [unique(name, taken) for name in ("a", "a", "a-2", "A", "b")]
    # A is a on some file systems; a-2 was given to the second a.
    assert found == ["a", "a-2", "a-2-2", "A-3", "b"]
    assert len({name.casefold() for name in found}) == 5


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Coeur_\xe9", "Coeur_é"),
        ("Cœur_é".encode(), "Cœur_é"),
        (b"\x8aafa\xf8\xedk", "Šafaøík"),
        (b"\xff\x81", "ÿ\ufffd"),
    ],
)
def test_bytes_become_text_that_can_be_written(raw: bytes, expected: str) -> None:
    assert readable(os.fsdecode(raw)) == expected
    safe_name(os.fsdecode(raw)).encode()


@pytest.mark.parametrize("name", ["患者" * 80, "रोगी" * 80, "пациент" * 40, "e\u0301" * 200])
def test_a_long_name_of_any_script_is_cut_to_what_fits_and_not_to_nothing(name: str) -> None:
    found = safe_name(name)
    assert unicodedata.normalize("NFC", name).startswith(found)
    assert 50 < len(found.encode()) <= LONGEST_NAME_BYTES


@given(st.text())
def test_any_name_is_one_component_that_stays_as_it_is(name: str) -> None:
    found = safe_name(name)
    assert safe_name(found) == found
    assert Path(found).name == found
    assert len(found.encode()) <= LONGEST_NAME_BYTES
    assert not found.startswith((".", "_"))


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/p1/ED", "a/p2/ED"], ["p1-ED", "p2-ED"]),
        (["a/p1/ED", "a/p1/ES"], ["ED", "ES"]),
        (["a/x/p1/ED", "b/x/p1/ED", "b/x/p2/ED"], ["a-x-p1-ED", "b-x-p1-ED", "p2-ED"]),
        (["a/s", "a/s", "b/s"], ["a-s", "a-s-2", "b-s"]),
        (["a/s", "a/s"], ["s", "s-2"]),
        (["a/S", "b/s"], ["a-S", "b-s"]),
        (["a/b-c", "b/c", "x/c"], ["a-b-c", "b-c", "x-c"]),
        (["c", "a/c"], ["c", "a-c"]),
        (["a/p\udce9/s", "a/pé/s"], ["s", "s-2"]),  # a byte that is no UTF-8 reads as é
        ([], []),
    ],
)
def test_as_much_of_a_path_as_tells_it_apart(paths: list[str], expected: list[str]) -> None:
    assert told_apart([path.split("/") for path in paths]) == expected


@given(
    st.lists(st.lists(st.sampled_from(["a", "A", "b", "a-b", "/", "é"]), min_size=1, max_size=4))
)
def test_no_two_names_are_alike_in_any_letter_case(paths: list[list[str]]) -> None:
    names = told_apart(paths)
    assert len({name.casefold() for name in names}) == len(paths)
