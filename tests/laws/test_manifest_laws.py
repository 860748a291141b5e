"""No patient in two splits, for any manifest and seed; manifests survive a round trip."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg import manifest as subject
from lvseg.manifest import Sample

LAW = settings(derandomize=True, deadline=None, max_examples=30)
words = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\:+"),
    min_size=1,
    max_size=8,
).filter(lambda word: word.lower() != "all" and word not in (".", ".."))
positive = st.floats(0.01, 100)
any_case = st.builds(
    Sample,
    file=words,
    patient_id=words,
    split=words,
    phase=st.none() | st.sampled_from(["ED", "ES"]),
    slice_index=st.none() | st.integers(0, 30),
    pathology=st.none() | words,
    age=st.none() | positive,
    pixel_spacing_mm=st.none() | positive,
    slice_spacing_mm=st.none() | positive,
)
manifests = st.lists(any_case, min_size=1, max_size=25, unique_by=lambda sample: sample.file)


@LAW
@given(manifests, st.integers(0, 1000), st.lists(st.floats(0.1, 5), min_size=1, max_size=4))
def test_no_patient_stands_in_two_splits(samples, seed, shares):
    named = {f"s{i}": share for i, share in enumerate(shares)}
    dealt = subject.split_by_patient(samples, named, seed=seed)
    assert subject.check_leaks(dealt) == ()
    assert [replace(c, split="") for c in dealt] == [replace(c, split="") for c in samples]
    total, count = sum(shares), len(subject.patients(samples))
    for name, share in named.items():
        held = subject.patients(c for c in dealt if c.split == name)
        assert abs(len(held) - share / total * count) < len(shares)


@LAW
@given(manifests)
def test_a_manifest_survives_a_round_trip(samples):
    assert subject.parse_manifest(subject.manifest_text(samples)) == tuple(samples)


@LAW
@given(manifests, st.integers(0, 9), st.integers(2, 5))
def test_folds_partition_the_patients(samples, seed, k):
    people = subject.patients(samples)
    if len(people) < k:
        return
    sets = [set(subject.patients(fold)) for fold in subject.folds(samples, k, seed=seed)]
    assert sorted(p for fold in sets for p in fold) == list(people)
    assert max(map(len, sets)) - min(map(len, sets)) <= 1
