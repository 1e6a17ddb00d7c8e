import asyncio

from django.test import SimpleTestCase

from media import turns


class TurnsTest(SimpleTestCase):
    async def test_of_many_that_come_at_once_each_has_a_round_of_the_loop_for_itself(self) -> None:
        rounds: list[int] = []
        now = 0

        async def count() -> None:
            nonlocal now
            while len(rounds) < 20:
                await asyncio.sleep(0)
                now += 1

        async def call() -> None:
            await turns.mine()
            rounds.append(now)

        await asyncio.gather(count(), *(call() for _ in range(20)))
        self.assertEqual(len(set(rounds)), 20)

    async def test_who_gives_up_waiting_keeps_nobody_else_from_it(self) -> None:
        first, second = asyncio.create_task(turns.mine()), asyncio.create_task(turns.mine())
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(1):
            await second
