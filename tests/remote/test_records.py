"""Which bytes are sent, by whom: the queue of records that several channels share."""

from collections.abc import Iterator

import pytest

from hpcdeploy.errors import RegistryError
from hpcdeploy.remote.records import LONGEST, SHORTEST, Record, Records, gaps

SIZE = 3 * SHORTEST + 100
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)


class Source:
    """The bytes of a file in pieces of an odd size; notes where it was read from."""

    def __init__(self, size: int = SIZE) -> None:
        self.asked: list[int] = []
        self._size = size

    def __call__(self, start: int) -> Iterator[bytes]:
        self.asked.append(start)
        for at in range(start, self._size, 100_003):
            yield CONTENT[at : min(at + 100_003, self._size)]


def begun(source: Source, *have: range) -> tuple[Records, list[int]]:
    shown: list[int] = []
    records = Records(SIZE, source, lambda done, _size: shown.append(done))
    records.begin(have)
    return records, shown


def taken(records: Records) -> Record:
    record = records.take()
    assert record
    assert record.data == CONTENT[record.start : record.start + len(record.data)]
    return record


def span(record: Record) -> range:
    return range(record.start, record.start + len(record.data))


@pytest.mark.parametrize(
    ("have", "missing"),
    [
        ([], [range(10)]),
        ([range(10)], []),
        ([range(5, 7), range(2), range(1, 3)], [range(3, 5), range(7, 10)]),
        ([range(4, 4)], [range(4), range(4, 10)]),
    ],
)
def test_what_is_missing_is_what_the_login_node_has_not(have: list[range], missing: list[range]) -> None:
    assert list(gaps(have, 10)) == missing


def test_a_file_is_cut_into_records_that_are_read_one_after_the_other() -> None:
    source = Source()
    records, shown = begun(source)
    lengths = []
    for _ in range(4):
        record = taken(records)
        lengths.append(len(record.data))
        records.confirm(span(record))
    assert lengths == [SHORTEST] * 3 + [100]
    assert source.asked == [0]
    assert records.take() is None
    assert records.complete
    assert shown == [0, SHORTEST, 2 * SHORTEST, 3 * SHORTEST, SIZE]


def test_only_what_is_missing_is_read() -> None:
    source = Source()
    records, shown = begun(source, range(1000), range(1500, SIZE - 10))
    assert [span(taken(records)), span(taken(records))] == [range(1000, 1500), range(SIZE - 10, SIZE)]
    assert source.asked == [1000, SIZE - 10]
    assert shown == [SIZE - 510]


def test_what_a_channel_could_not_send_another_sends() -> None:
    records, _ = begun(Source())
    lost, other = taken(records), taken(records)
    records.confirm(span(other))
    records.give_back([lost.start, other.start])
    assert [taken(records).start for _ in range(3)] == [2 * SHORTEST, 3 * SHORTEST, lost.start]
    assert records.take() is None
    assert not records.complete


def test_a_confirmation_of_what_was_not_sent_counts_for_nothing() -> None:
    records, shown = begun(Source())
    record = taken(records)
    for wrong in (range(record.start, record.start + 1), range(SHORTEST, 2 * SHORTEST), range(0)):
        records.confirm(wrong)
    records.confirm(span(record))
    records.confirm(span(record))
    records.give_back([record.start])
    assert (records.done, shown) == (SHORTEST, [0, SHORTEST])
    assert taken(records).start == SHORTEST


class Broken(Source):
    def __call__(self, start: int) -> Iterator[bytes]:
        yield CONTENT[:SHORTEST]
        raise RegistryError("gone")


@pytest.mark.parametrize("source", [Source(SIZE - 1), Broken()])
def test_a_source_that_is_too_short_or_breaks_ends_all_channels(source: Source) -> None:
    records, _ = begun(source)
    while records.take():
        assert not records.failed
    assert records.failed
    assert records.take() is None
    assert not records.complete


@pytest.mark.parametrize(
    ("size", "length"), [(10**7, SHORTEST), (16384 * 10**6, 10**6), (10**12, LONGEST)], ids=["small", "large", "huge"]
)
def test_records_of_a_large_file_are_long_since_each_is_a_line_of_the_journal(size: int, length: int) -> None:
    def endless(_start: int) -> Iterator[bytes]:
        while True:
            yield bytes(10**6)

    records = Records(size, endless, lambda _done, _size: None)
    records.begin([])
    record = records.take()
    assert record
    assert len(record.data) == length
