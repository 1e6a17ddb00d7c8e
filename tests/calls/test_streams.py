"""How the turns of several streams of one call are numbered."""

from django.test import SimpleTestCase

from calls import streams


class StreamsTest(SimpleTestCase):
    def test_each_stream_has_a_block_of_its_own(self) -> None:
        self.assertEqual([streams.first_index(number) for number in (0, 1, 2)], [0, 10_000, 20_000])
        self.assertEqual([streams.stream_of(index) for index in (0, 9_999, 10_000, 20_001)], [0, 0, 1, 2])
        self.assertEqual([streams.place_in_stream(index) for index in (0, 9_999, 10_000, 20_001)], [0, 9_999, 0, 1])

    def test_a_gap_shows_within_a_stream_only(self) -> None:
        self.assertTrue(streams.has_no_gap([]))
        self.assertTrue(streams.has_no_gap([1, 0, 10_000, 10_001]))
        for indices in ([1], [0, 2], [0, 10_001], [0, 0], [0, 1, 20_002]):
            self.assertFalse(streams.has_no_gap(indices), indices)
        self.assertTrue(streams.has_no_gap([1, 2, 10_000], {0: 1}))  # nobody was greeted
        self.assertFalse(streams.has_no_gap([2, 10_000], {0: 1}))

    def test_the_last_turn_tells_how_many_there_were(self) -> None:
        self.assertEqual(streams.counts([0, 3, 10_000]), {0: 4, 1: 1})
        self.assertEqual(streams.counts([]), {})
