"""Another process has to know that secret digits were being typed when a stream was lost."""

import asyncio
from unittest import mock

from django.core.cache import cache
from django.test import SimpleTestCase
from redis.exceptions import ConnectionError as CacheAway

from calls import secret_entry
from tests.calls.support import CALL_SID


class SecretEntryTest(SimpleTestCase):
    def setUp(self) -> None:
        self.addCleanup(cache.clear)

    async def written(self) -> None:
        """Until the one thread that writes has done all it was told."""
        await asyncio.wrap_future(secret_entry._writes.submit(lambda: None))

    async def test_it_is_known_from_its_beginning_to_its_end(self) -> None:
        self.assertFalse(await secret_entry.was_lost(CALL_SID))
        secret_entry.begun(CALL_SID)
        await self.written()
        self.assertTrue(await secret_entry.was_lost(CALL_SID))
        self.assertFalse(await secret_entry.was_lost("CA" + "9" * 32))
        secret_entry.ended(CALL_SID)
        secret_entry.begun(CALL_SID)
        secret_entry.ended(CALL_SID)
        await self.written()
        self.assertFalse(await secret_entry.was_lost(CALL_SID))

    async def test_what_nobody_can_tell_counts_as_lost(self) -> None:
        with (
            mock.patch.object(secret_entry, "cache", mock.Mock(**{"get.side_effect": CacheAway})),
            self.assertLogs("calls.secret_entry", "WARNING"),
        ):
            self.assertTrue(await secret_entry.was_lost(CALL_SID))

    async def test_that_it_could_not_be_told_costs_the_call_nothing(self) -> None:
        with (
            mock.patch.object(secret_entry, "cache", mock.Mock(**{"set.side_effect": CacheAway})),
            self.assertLogs("calls.secret_entry", "WARNING") as logs,
        ):
            secret_entry.begun(CALL_SID)
            await self.written()
        self.assertEqual(logs.records[0].getMessage(), "not told that secret digits are typed")
