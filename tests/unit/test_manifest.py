"""Manifests, splits by patient and leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from lvseg import manifest as subject
from lvseg.errors import DatasetError, PatientLeakError, UsageError
from lvseg.manifest import Sample

TEXT = """\
patient_id,file,split,phase,slice_index,pathology,sex,age,pixel_spacing_mm,original_file
A,a1.png,training,ED,0,Normal,Male,57,1.37,x.png
A,a2.png,training,ES,0,Normal,Male,57,,
B,b1.png,online,,,,,,,"y, z.png"
"""


def many(patients=20, slices=3):
    return tuple(
        Sample(f"p{p}-{s}.png", f"p{p}", "training", pathology="HCM" if p % 4 == 0 else "Normal")
        for p in range(patients)
        for s in range(slices)
    )


def test_a_manifest_is_read_in_its_order_with_blanks_as_none_and_unknown_columns_kept():
    first, second, third = subject.parse_manifest(TEXT)
    assert first == Sample(
        "a1.png", "A", "training", "ED", 0, "Normal", "Male", 57.0, 1.37, None,
        (("original_file", "x.png"),),
    )  # fmt: skip
    assert second.pixel_spacing_mm is None
    assert (third.phase, third.slice_index, third.age) == (None, None, None)
    assert third.extra == (("original_file", "y, z.png"),)


def test_what_is_written_is_what_is_read(tmp_path):
    samples = subject.parse_manifest(TEXT)
    path = subject.write_manifest(samples, tmp_path)
    assert path == tmp_path / "manifest.csv"
    assert subject.read_manifest(tmp_path) == samples
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_byte_order_mark_and_spaces_in_the_header_do_no_harm(tmp_path):
    text = "\ufefffile, patient_id ,split\r\na.png, A ,online\r\n"
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8", newline="")
    assert subject.read_manifest(tmp_path) == (Sample("a.png", "A", "online"),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,,online,1", "line 3, column patient_id"),
        ("a.png,A,,1", "line 3, column split"),
        ("a.png,A,online,x", "line 3, column slice_index.*'x'"),
        ("a.png,A,online,-1", "line 3, column slice_index"),
        ("../a.png,A,online,1", "line 3, column file.*below the images folder"),
        ("/a.png,A,online,1", "line 3, column file"),
        ("C:/a.png,A,online,1", "line 3, column file"),
        ("a.png,A,training+online,1", "line 3, column split"),
        ("a.png,A,all,1", "line 3, column split"),
        ("first.png,A,online,1", "line 3.*each file once.*line 2"),
        ("a.png,A,online", "line 3.*fewer"),
        ("a.png,A,online,1,2", "line 3.*more"),
        ('a.png,"A,online,1', "after line 2: not valid CSV"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line_and_column(line, message):
    text = f"file,patient_id,split,slice_index\nfirst.png,A,online,0\n{line}\n"
    with pytest.raises(DatasetError, match=message) as caught:
        subject.parse_manifest(text, where="data/manifest.csv")
    assert "data/manifest.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "file,patient_id\na,b\n", "file,file,patient_id,split\na,b,c,d\n"]
)
def test_a_header_without_the_three_columns_is_refused(text):
    with pytest.raises(DatasetError, match="line 1: expected the columns file, patient_id, split"):
        subject.parse_manifest(text)


def test_no_sample_at_all_is_refused():
    with pytest.raises(DatasetError, match="at least one sample"):
        subject.parse_manifest("file,patient_id,split\n")


def test_a_folder_without_a_manifest_or_with_binary_rubbish_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="lvseg prepare"):
        subject.read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not UTF-8"):
        subject.read_manifest(tmp_path)


def test_a_patient_in_two_splits_is_refused_by_name_on_reading_and_writing(tmp_path):
    text = "file,patient_id,split\n1.png,A,training\n2.png,A,online\n3.png,B,online\n"
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(PatientLeakError, match="A") as caught:
        subject.read_manifest(tmp_path)
    assert caught.value.patients == ("A",)
    assert caught.value.exit_code == 3
    leaky = subject.read_manifest(tmp_path, allow_leaks=True)
    assert len(leaky) == 3
    with pytest.raises(PatientLeakError):
        subject.write_manifest(leaky, tmp_path / "other")


def test_a_failed_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    samples = subject.parse_manifest(TEXT)
    subject.write_manifest(samples, tmp_path)

    def fail(_cases):
        raise RuntimeError("disk full")

    monkeypatch.setattr(subject, "manifest_text", fail)
    with pytest.raises(RuntimeError):
        subject.write_manifest(samples[:1], tmp_path)
    assert subject.read_manifest(tmp_path) == samples
    assert len(list(tmp_path.iterdir())) == 1


def test_select_joins_splits_with_a_plus():
    samples = [Sample(f"{s}.png", s, s) for s in ("training", "validation", "online")]
    assert [c.split for c in subject.select(samples, "training+validation")] == [
        "training",
        "validation",
    ]
    assert len(subject.select(samples, "all")) == 3
    with pytest.raises(UsageError, match=r"online, training, validation.*'test'"):
        subject.select(samples, "online+test")


def test_copies_of_an_augmentation_are_told_by_their_column():
    plain, blank = Sample("a", "A", "x"), Sample("b", "A", "x", extra=(("original", ""),))
    copy = Sample("c", "A", "x", extra=(("original", "a"),))
    assert subject.unaugmented([plain, copy, blank]) == (plain, blank)


def test_split_by_patient_keeps_shares_and_strata():
    dealt = subject.split_by_patient(many(), {"training": 3, "test": 1}, seed=5)
    split_of = {sample.patient_id: sample.split for sample in dealt}
    assert Counter(split_of.values()) == {"training": 15, "test": 5}
    sick = {f"p{p}" for p in range(0, 20, 4)}  # 5 patients: 3 or 4 of them in training
    assert Counter(split_of[p] for p in sick)["training"] in (3, 4)
    assert [sample.file for sample in dealt] == [sample.file for sample in many()]


def test_split_by_patient_depends_on_the_seed_only():
    shares = {"training": 0.5, "test": 0.5}
    once = subject.split_by_patient(many(), shares, seed=1)
    shuffled = subject.split_by_patient(many()[::-1], shares, seed=1)
    assert {c.file: c.split for c in once} == {c.file: c.split for c in shuffled}
    assert once != subject.split_by_patient(many(), shares, seed=2)


@pytest.mark.parametrize("shares", [{}, {"training": 0}, {"training": 1, "test": -1}])
def test_shares_must_be_positive(shares):
    with pytest.raises(UsageError, match="positive"):
        subject.split_by_patient(many(), shares)


def test_folds_hold_out_every_patient_once_balanced_by_pathology():
    held_out = subject.folds(many(), 5, seed=0)
    assert [len(subject.patients(fold)) for fold in held_out] == [4] * 5
    assert sorted(c.file for fold in held_out for c in fold) == sorted(c.file for c in many())
    assert [sum(c.pathology == "HCM" for c in fold) for fold in held_out] == [3] * 5
    assert {c.split for c in held_out[2]} == {"fold3"}


@pytest.mark.parametrize("k", [1, 21])
def test_impossible_folds_are_refused(k):
    with pytest.raises(UsageError, match="2 to 20 folds"):
        subject.folds(many(), k)


def test_hashes_are_of_the_file_bytes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"abc")
    found = subject.image_hashes(tmp_path, [Sample("a.png", "A", "online")])
    assert found == {"a.png": hashlib.sha256(b"abc").hexdigest()}
    with pytest.raises(DatasetError, match=r"b\.png"):
        subject.image_hashes(tmp_path, [Sample("b.png", "A", "online")])


def test_leaks_are_found_by_number_and_by_picture():
    a, b, c = Sample("a", "A", "training"), Sample("b", "B", "online"), Sample("c", "C", "online")
    assert subject.check_leaks([a, b, c], {"a": "1", "b": "2", "c": "2"}) == ()
    (issue,) = subject.check_leaks([a, b, c], {"a": "1", "b": "2", "c": "1"})
    assert (issue.code, issue.severity) == ("image-in-two-splits", "error")
    (issue,) = subject.check_leaks([a, replace(b, patient_id="A"), c])
    assert issue.code == "patient-in-two-splits"
    assert "A stands in online, training" in issue.text


FACTS = subject.DatasetFacts(
    "A set", "CC0-1.0", "Roe J, 2020", "Ü centre", ("No children.",), "line"
)


def test_facts_come_back_as_written(tmp_path):
    path = subject.write_dataset_facts(FACTS, tmp_path)
    assert path == tmp_path / "dataset.json"
    assert "Ü centre" in path.read_text("utf-8")
    assert subject.read_dataset_facts(tmp_path) == FACTS
    assert FACTS.unknown == ()


def test_what_a_data_set_does_not_say_is_unknown(tmp_path):
    nothing = subject.read_dataset_facts(tmp_path)
    assert nothing == subject.DatasetFacts()
    assert (nothing.name, nothing.licence, nothing.limits) == ("unknown", "unknown", ())
    (tmp_path / "dataset.json").write_text('{"name": "A set", "licence": " ", "centre": null}')
    facts = subject.read_dataset_facts(tmp_path)
    assert facts == subject.DatasetFacts(name="A set")
    assert facts.unknown == ("licence", "citation", "centre", "limits", "outline_rule")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON object"),
        ("[]", "object"),
        ('{"license": "CC0-1.0"}', "key license"),
        ('{"limits": "No children."}', "key limits"),
        ('{"name": 3}', "key name"),
        ('{"limits": [1]}', r"key limits\.0"),
    ],
)
def test_broken_facts_are_one_line_that_names_the_file(tmp_path, text, named):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=named) as caught:
        subject.read_dataset_facts(tmp_path)
    assert "dataset.json" in str(caught.value)
    assert "\n" not in str(caught.value)
