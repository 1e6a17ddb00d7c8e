"""The form of a journal file: whatever happens to its bytes, the records that are whole are read."""

from __future__ import annotations

import json
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from calls.journal import records
from calls.journal.records import Record, encode, frame, pieces

texts = st.text(max_size=30)  # any character but lone surrogates, NUL and line breaks included
values = texts | st.integers() | st.booleans() | st.none() | st.lists(texts, max_size=3)
arguments = st.dictionaries(texts, values, max_size=4)
some_records = st.lists(
    st.builds(
        Record,
        v=st.just(records.VERSION),
        event_id=texts,
        seq=st.integers(1, 2**40),
        kind=texts,
        at=texts,
        arguments=arguments,
    ),
    min_size=1,
    max_size=5,
)


def read(data: bytes) -> list[Record]:
    return [piece.record for piece in pieces(data) if piece.record is not None]


def a_record(seq: int = 1, **arguments: Any) -> Record:
    return Record(records.VERSION, "e1", seq, "save_conversation_turn", "2026-11-24T10:00:00Z", arguments)


class Files(SimpleTestCase):
    @given(some_records)
    def test_what_was_written_is_read_in_order(self, written: list[Record]) -> None:
        self.assertEqual(read(b"".join(map(encode, written))), written)

    @given(some_records, st.data())
    def test_a_file_cut_anywhere_keeps_its_whole_records(self, written: list[Record], data: st.DataObject) -> None:
        encoded = [encode(record) for record in written]
        cut = data.draw(st.integers(0, sum(map(len, encoded))))
        whole = 0
        while whole < len(encoded) and sum(map(len, encoded[: whole + 1])) <= cut:
            whole += 1
        self.assertEqual(read(b"".join(encoded)[:cut]), written[:whole])

    @given(some_records, st.data())
    def test_a_flipped_bit_costs_the_record_it_is_in(self, written: list[Record], data: st.DataObject) -> None:
        encoded = [encode(record) for record in written]
        damaged = bytearray(b"".join(encoded))
        bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
        damaged[bit // 8] ^= 1 << bit % 8
        victim, end = 0, len(encoded[0])
        while end <= bit // 8:
            victim += 1
            end += len(encoded[victim])
        found = pieces(bytes(damaged))
        self.assertEqual(read(bytes(damaged)), written[:victim] + written[victim + 1 :])
        self.assertEqual(
            [piece.data for piece in found if piece.record is None], [bytes(damaged)[end - len(encoded[victim]) : end]]
        )

    @given(some_records, st.binary(max_size=60), st.data())
    def test_rubbish_between_records_costs_none_and_is_kept(
        self, written: list[Record], rubbish: bytes, data: st.DataObject
    ) -> None:
        encoded = [encode(record) for record in written]
        place = data.draw(st.integers(0, len(encoded)))
        whole = b"".join(encoded[:place]) + rubbish + b"".join(encoded[place:])
        self.assertEqual(read(whole), written)
        self.assertEqual(b"".join(piece.data for piece in pieces(whole)), whole)

    def test_every_cut_of_one_file(self) -> None:
        one, two = encode(a_record(1, text="één")), encode(a_record(2, text="zwei"))
        for cut in range(len(one + two) + 1):
            expected = (cut >= len(one)) + (cut == len(one + two))
            self.assertEqual(len(read((one + two)[:cut])), expected, cut)

    def test_a_length_that_lies_does_not_hide_what_follows(self) -> None:
        one, two = encode(a_record(1)), encode(a_record(2))
        lying = one[:4] + (2**31).to_bytes(4, "little") + one[8:]
        self.assertEqual([record.seq for record in read(lying + two)], [2])

    def test_zeros_after_a_crash_are_damage_and_nothing_more(self) -> None:
        found = pieces(encode(a_record(1)) + bytes(4096))
        self.assertEqual([piece.record is None for piece in found], [False, True])


class Payloads(SimpleTestCase):
    def test_half_a_surrogate_pair_survives(self) -> None:
        self.assertEqual(read(encode(a_record(user_text="\ud83d")))[0].arguments, {"user_text": "\ud83d"})

    def test_what_is_not_json_becomes_text(self) -> None:
        value = json.loads(pieces(encode(a_record(odd=st)))[0].data[12:])["arguments"]["odd"]
        self.assertIn("hypothesis.strategies", value)

    def test_what_refers_to_itself_cannot_be_stored(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        with self.assertRaises(records.NotStorable):
            encode(a_record(loop=loop))

    def test_a_payload_of_another_form_is_no_record(self) -> None:
        for payload in (b"[]", b"{}", b"\xff", b"", json.dumps({"v": 2, "seq": 1}).encode()):
            found = pieces(frame(payload) + encode(a_record(7)))
            self.assertEqual([piece.record and piece.record.seq for piece in found], [None, 7])

    def test_a_record_shows_nothing_of_what_was_said(self) -> None:
        record = a_record(user_text="my card is 4111")
        self.assertNotIn("4111", repr(record) + repr(pieces(encode(record))))
