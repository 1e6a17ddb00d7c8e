"""REDIS_URL as Celery writes it."""

from __future__ import annotations

import ssl

from django.test import SimpleTestCase
from kombu import Connection

from voiceagent.broker import broker_url


class BrokerUrlTest(SimpleTestCase):
    def test_addresses_over_tcp_stay_as_they_are(self) -> None:
        for url in ("redis://localhost", "redis://:pw@host:6380/2", "redis://user:p%40ss@[::1]:6379/0"):
            self.assertEqual(broker_url(url), url)
        self.assertEqual(broker_url("redis://host:6379?db=3"), "redis://host:6379/3")

    def test_a_unix_socket_keeps_password_and_database(self) -> None:
        self.assertEqual(
            broker_url("unix://:p%40%2Fss@/tmp/a/valkey.sock?db=2"),
            "redis+socket://:p%40%2Fss@/tmp/a/valkey.sock?virtual_host=2",
        )
        self.assertEqual(broker_url("unix:///tmp/v.sock"), "redis+socket:///tmp/v.sock?virtual_host=0")

    def test_the_certificate_of_a_server_is_checked_unless_the_address_says_otherwise(self) -> None:
        for url, wanted in [
            ("rediss://:pw@host:6379/1", ssl.CERT_REQUIRED),
            ("rediss://host?ssl_cert_reqs=none", ssl.CERT_NONE),
        ]:
            connection = Connection(broker_url(url))
            self.assertEqual(connection.ssl["ssl_cert_reqs"], wanted)
        self.assertEqual(Connection(broker_url("rediss://:pw@host:6379/1")).virtual_host, "1")
