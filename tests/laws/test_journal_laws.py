"""Laws of the journal: whatever byte a process was killed at, what was written before counts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.batch.journal import JOURNAL, Fingerprint, History, Journal, parse, read_history

NAMES = st.text(min_size=1, max_size=8)
HASHES = st.text("0123456789abcdef", min_size=4, max_size=4)
FINGERPRINTS = st.builds(Fingerprint, HASHES, HASHES, HASHES, st.none() | HASHES)
CALLS = st.one_of(
    st.tuples(st.just("run"), HASHES, st.lists(NAMES, max_size=3)),
    st.tuples(st.just("start"), NAMES, FINGERPRINTS, st.none() | HASHES),
    st.tuples(st.just("done"), NAMES, FINGERPRINTS, HASHES),
    st.tuples(st.just("failed"), NAMES, st.integers(1, 5), st.text(), st.none() | st.floats(0, 9)),
    st.tuples(st.just("end")),
)
LAW = settings(derandomize=True, deadline=None, max_examples=60)


def written(root: Path, calls: list[Any]) -> Path:
    with Journal(root) as journal:
        for name, *arguments in calls:
            getattr(journal, name)(*arguments)
    return root / JOURNAL


@LAW
@given(st.lists(CALLS, max_size=8))
def test_what_was_written_is_read_and_what_is_remembered_is_what_is_read(calls: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        with Journal(Path(place)) as journal:
            for name, *arguments in calls:
                getattr(journal, name)(*arguments)
            assert journal.history == read_history(Path(place))
        events = parse((Path(place) / JOURNAL).read_bytes())
    assert [each["event"] for each in events] == [call[0] for call in calls]


@LAW
@given(st.lists(CALLS, min_size=1, max_size=5), st.lists(CALLS, max_size=3), st.data())
def test_a_line_cut_off_takes_nothing_else_with_it(
    before: list[Any], after: list[Any], data: st.DataObject
) -> None:
    """Killed while the last line is written, then given again: both parts are there."""
    with tempfile.TemporaryDirectory() as place:
        path = written(Path(place), before)
        whole = path.read_bytes()
        last = len(whole.splitlines(keepends=True)[-1])
        path.write_bytes(whole[: len(whole) - data.draw(st.integers(2, last))])
        written(Path(place), after)
        events = parse(path.read_bytes())
    assert [each["event"] for each in events] == [call[0] for call in [*before[:-1], *after]]


@LAW
@given(st.binary(max_size=200))
def test_any_bytes_are_a_journal(content: bytes) -> None:
    assert isinstance(History.of(parse(content)), History)


@LAW
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["event", "study", "fingerprint", "result", "exit", "key", "studies"]),
            st.sampled_from(["run", "start", "done", "failed", "end", 1, None, "x", {}, []]),
        )
    )
)
def test_events_of_any_shape_are_no_error(events: list[dict[str, Any]]) -> None:
    assert isinstance(History.of(parse("\n".join(map(json.dumps, events)).encode())), History)


@LAW
@given(st.lists(CALLS, max_size=12), NAMES, HASHES)
def test_a_result_is_never_taken_for_the_one_that_was_there_before(
    calls: list[Any], study: str, result: str
) -> None:
    """A study that began, and whose folder holds what it held then, is not done."""
    began = ("start", study, Fingerprint("a", "b", "c"), result)
    with tempfile.TemporaryDirectory() as place:
        written(Path(place), [*calls, began])
        history = read_history(Path(place))
    known = history.done.get(study)
    expected = known[0] if known is not None and known[1] == result else None
    assert history.made_by(study, result) == expected
    assert history.made_by(study, result + "other") == began[2]
    assert history.made_by(study, None) is None
