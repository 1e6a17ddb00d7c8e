"""One Redis client for all that a worker says to its broker, and another one when its connections are others."""

from __future__ import annotations

from django.test import SimpleTestCase
from kombu import Connection

from tests.calls.valkey import Valkey
from voiceagent.one_client import keep_client


class OneClientTest(SimpleTestCase):
    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.close)
        connection = Connection(self.valkey.broker_url)
        self.addCleanup(connection.release)
        self.channel = connection.channel()
        keep_client(self.channel)

    def test_messages_are_taken_and_acknowledged_over_one_client(self) -> None:
        with Connection(self.valkey.broker_url) as other, other.SimpleQueue("default") as queue:
            queue.put({"fact": 1})
        with self.channel.conn_or_acquire() as first:
            pass
        message = self.channel.basic_get("default")
        self.assertEqual(self.valkey.client().hlen("unacked"), 1)
        self.channel.basic_ack(message.delivery_tag)
        self.assertEqual(self.valkey.client().hlen("unacked"), 0)
        with self.channel.conn_or_acquire() as second:
            self.assertIs(second, first)
        self.assertIsNot(self.channel._create_client(asynchronous=True), first)

    def test_connections_that_were_given_up_are_not_used_again(self) -> None:
        before = self.channel._create_client()
        self.channel._disconnect_pools()
        after = self.channel._create_client()
        self.assertIsNot(after, before)
        self.assertIs(after.connection_pool, self.channel.pool)
        self.assertTrue(after.ping())
