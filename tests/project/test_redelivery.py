"""A message comes back when nobody holds it any more, and not while somebody does."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import redis
from django.test import SimpleTestCase
from kombu import Connection

from tests.calls.valkey import Valkey
from voiceagent.redelivery import BEAT_SECONDS, LEASE_SECONDS, Leases

QUEUE = "default"


class LeasesTest(SimpleTestCase):
    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.close)
        with Connection(self.valkey.broker_url) as connection, connection.SimpleQueue(QUEUE) as queue:
            queue.put({"fact": 1})
        self.now = time.time()

    def worker(self) -> Any:
        """A worker's channel, whose end nobody notices: in order it would give back what it holds."""
        channel = Connection(self.valkey.broker_url).channel()
        channel.qos._on_collect.cancel()
        return channel

    def take(self, channel: Any) -> Any:
        message = channel.basic_get(QUEUE)
        self.assertIsNotNone(message)
        return message

    def beats(self, leases: Leases, until: float, also: Leases | None = None) -> int:
        """Both beat until then, this one's last. Return how many messages it gave back."""
        given_back = 0
        while self.now < until:
            self.now += BEAT_SECONDS
            with self.valkey.client() as client:
                if also is not None:
                    also._beat(client, self.now)
                given_back += leases._beat(client, self.now)
        return given_back

    def test_what_a_dead_worker_held_comes_back_once_within_a_minute(self) -> None:
        dead, living = self.worker(), Leases(self.worker().qos)
        self.take(dead)
        taken_at = self.now
        self.assertEqual(self.beats(living, taken_at + LEASE_SECONDS - BEAT_SECONDS), 0)
        self.assertEqual(self.beats(living, taken_at + 40), 1)
        [message] = self.valkey.queued(QUEUE)
        self.assertIn(b'"redelivered": true', message)
        self.assertEqual(self.beats(living, taken_at + 120), 0)
        self.assertEqual(self.valkey.client().hlen("unacked"), 0)

    def test_what_a_living_worker_holds_stays_with_it_however_long(self) -> None:
        holding, other = self.worker(), Leases(self.worker().qos)
        message = self.take(holding)
        self.assertEqual(self.beats(other, self.now + 600, also=Leases(holding.qos)), 0)
        self.assertEqual(self.valkey.queued(QUEUE), [])
        message.ack()
        Leases(holding.qos).beat()
        self.assertEqual(self.valkey.client().zcard("unacked_index"), 0)

    def test_a_clock_that_is_wrong_by_minutes_takes_nothing_away_and_keeps_nothing(self) -> None:
        for ahead in (300, -300):
            with self.subTest(ahead), mock.patch("kombu.transport.redis.time", lambda by=ahead: time.time() + by):
                holding, other = self.worker(), Leases(self.worker().qos)
                message = self.take(holding)
                leases = Leases(holding.qos)
                self.assertEqual(self.beats(other, self.now + 100, also=leases), 0)
                # And dead before it renewed anything:
                message.reject(requeue=True)
                self.take(holding)
                self.assertEqual(self.beats(other, self.now + 40), 1)

    def test_what_could_not_be_acknowledged_is_let_go_of_and_comes_again(self) -> None:
        for settle in ("ack", "reject", "requeue"):
            with self.subTest(settle):
                holding, other = self.worker(), Leases(self.worker().qos)
                holding.basic_qos(0, 1, False)
                leases = Leases(holding.qos)
                message = self.take(holding)
                self.assertFalse(holding.qos.can_consume())
                hung = redis.TimeoutError("Timeout reading from socket")
                broken = "restore_by_tag" if settle == "requeue" else "_remove_from_indices"
                with mock.patch.object(holding.qos, broken, side_effect=hung), self.assertRaises(redis.TimeoutError):
                    getattr(message, settle)()
                self.assertTrue(holding.qos.can_consume())
                self.beats(other, self.now + 40, also=leases)
                self.assertEqual(len(self.valkey.queued(QUEUE)), 1)

    def test_nothing_comes_again_if_the_broker_had_heard_it(self) -> None:
        holding, other = self.worker(), Leases(self.worker().qos)
        leases = Leases(holding.qos)
        message = self.take(holding)
        real = holding.qos._remove_from_indices

        def hang_afterwards(*given: Any) -> None:
            real(*given).execute()
            raise redis.TimeoutError("Timeout reading from socket")

        with mock.patch.object(holding.qos, "_remove_from_indices", hang_afterwards):
            self.assertRaises(redis.TimeoutError, message.ack)
        self.assertTrue(holding.qos.can_consume())
        self.beats(other, self.now + 40, also=leases)
        self.assertEqual(self.valkey.queued(QUEUE), [])

    def test_a_broker_that_hangs_is_celerys_to_mend(self) -> None:
        leases = Leases(self.worker().qos)
        self.valkey.close()
        with self.assertRaises(redis.ConnectionError):
            leases.beat()
