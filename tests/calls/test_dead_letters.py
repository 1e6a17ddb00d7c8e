"""A task that fails again and again is taken out of its queue, kept for the right people, and can be replayed."""

from __future__ import annotations

from typing import Any
from unittest import mock

from celery.exceptions import Retry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import IntegrityError, OperationalError, connections
from django.test import TestCase
from django.urls import reverse

from businesses.models import Membership
from calls import dead_letters, services, tasks
from calls.models import ConversationTurn, DeadLetter, RefusedFact
from calls.tasks import FactFailed
from tests.calls.support import CALL_SID, a_business, a_turn

SPOKEN = "nobody else may read this"


class Base(TestCase):
    def setUp(self) -> None:
        cache.clear()
        self.business, _ = a_business()
        self.turn: dict[str, Any] = {
            "call_sid": CALL_SID,
            "business_id": self.business.pk,
            **a_turn(1, user_text=SPOKEN),
        }
        patch = mock.patch.object(connections, "close_all")  # it would close the connection of the test's transaction
        patch.start()
        self.addCleanup(patch.stop)

    def failing(self, error: BaseException) -> Any:
        return mock.patch.object(services, "save_conversation_turn", side_effect=error)

    def a_letter(self, **fields: Any) -> DeadLetter:
        dead_letters.bury("task-1", "save_conversation_turn", self.turn | fields, reason="KeyError", deliveries=5)
        return DeadLetter.objects.get()


class AttemptsTest(Base):
    def test_a_fact_that_fails_five_times_is_a_dead_letter_and_ends(self) -> None:
        with self.failing(IntegrityError(SPOKEN)) as service, self.assertLogs("calls") as logs:
            result = tasks.save_conversation_turn.apply(kwargs=self.turn)
        self.assertEqual(service.call_count, dead_letters.MAX_DELIVERIES)
        self.assertEqual(result.state, "FAILURE")
        letter = DeadLetter.objects.get()
        self.assertEqual((letter.business, letter.call_sid, letter.deliveries), (self.business, CALL_SID, 5))
        self.assertEqual((letter.kind, letter.payload["user_text"]), ("save_conversation_turn", SPOKEN))
        self.assertNotIn(SPOKEN, str([vars(record) for record in logs.records]) + str(result.result) + letter.reason)

    def test_a_fact_that_recovers_is_no_dead_letter(self) -> None:
        real = services.save_conversation_turn
        with (
            mock.patch.object(
                services, "save_conversation_turn", side_effect=[KeyError, KeyError, mock.DEFAULT]
            ) as once,
            self.assertLogs("calls.tasks", "ERROR"),
        ):
            once.return_value = True
            self.assertEqual(tasks.save_conversation_turn.apply(kwargs=self.turn).state, "SUCCESS")
        self.assertFalse(DeadLetter.objects.exists())
        self.assertIs(services.save_conversation_turn, real)

    def deliver(self, redelivered: bool = True) -> Any:
        """One delivery as a worker gets it; the broker marks those that it gave out before."""
        task = tasks.save_conversation_turn
        info = {"redelivered": redelivered, "routing_key": "default"}
        task.push_request(
            id="poison", delivery_info=info, called_directly=False, retries=0, args=[], kwargs=self.turn, is_eager=True
        )
        try:
            return task(**self.turn)
        finally:
            task.pop_request()

    def test_a_task_that_kills_its_workers_is_not_run_a_sixth_time(self) -> None:
        """Five deliveries that never came to an end: the sixth time it is only written down."""
        with mock.patch.object(services, "save_conversation_turn", side_effect=SystemExit) as service:
            for number in range(dead_letters.MAX_DELIVERIES):
                with self.assertRaises(SystemExit):  # stands for the worker's death: nothing is counted by it
                    self.deliver(redelivered=number > 0)
            with self.assertLogs("calls", "ERROR"), self.assertRaisesRegex(FactFailed, "WorkerLost"):
                self.deliver()
        self.assertEqual(service.call_count, dead_letters.MAX_DELIVERIES)
        self.assertEqual(DeadLetter.objects.get().task_id, "poison")

    def test_a_first_delivery_counts_nothing(self) -> None:
        with mock.patch.object(dead_letters, "count_failure") as count:
            self.deliver(redelivered=False)
        count.assert_not_called()

    def test_while_the_database_is_away_the_task_stays_in_its_queue(self) -> None:
        with (
            self.failing(IntegrityError()),
            mock.patch.object(dead_letters, "count_failure", return_value=5),
            mock.patch.object(dead_letters, "bury", side_effect=OperationalError(SPOKEN)),
            self.assertLogs("calls.tasks", "ERROR"),
            self.assertRaises(Retry) as retried,
        ):
            self.deliver(redelivered=False)
        self.assertNotIn(SPOKEN, repr(retried.exception))

    def test_without_a_cache_a_task_is_tried_on(self) -> None:
        from redis.exceptions import ConnectionError as RedisAway

        with mock.patch.object(cache, "add", side_effect=RedisAway):
            self.assertEqual(dead_letters.count_failure("task-1"), 1)

    def test_a_letter_is_kept_once_and_of_no_business_when_it_names_none(self) -> None:
        self.a_letter()
        self.a_letter()
        DeadLetter.objects.all().delete()
        for odd in (True, 10**9, "1", None, [1]):
            with self.subTest(business_id=odd):
                self.assertIsNone(self.a_letter(business_id=odd).business)
                DeadLetter.objects.all().delete()


class ReplayTest(Base):
    def test_a_replayed_letter_is_in_the_call_and_its_words_are_not_here_any_more(self) -> None:
        letter = self.a_letter()
        self.assertTrue(dead_letters.replay(letter))
        self.assertEqual(ConversationTurn.objects.get().user_text, SPOKEN)
        letter.refresh_from_db()
        self.assertEqual(letter.payload, {})
        self.assertIsNotNone(letter.replayed_at)

    def test_one_that_fails_still_stays(self) -> None:
        letter = self.a_letter()
        with self.failing(IntegrityError(SPOKEN)), self.assertRaises(dead_letters.NotReplayed) as refused:
            dead_letters.replay(letter)
        self.assertNotIn(SPOKEN, str(refused.exception))
        letter.refresh_from_db()
        self.assertEqual((letter.replayed_at, letter.payload["user_text"]), (None, SPOKEN))

    def test_only_facts_are_replayed(self) -> None:
        letter = self.a_letter()
        letter.kind = "reap_call_log"
        with self.assertRaises(dead_letters.NotReplayed):
            dead_letters.replay(letter)

    def test_one_that_is_refused_now_is_kept_as_that(self) -> None:
        self.assertFalse(dead_letters.replay(self.a_letter(turn_index=-1)))
        self.assertEqual(RefusedFact.objects.count(), 1)


class AdminTest(Base):
    def setUp(self) -> None:
        super().setUp()
        self.letter = self.a_letter()
        self.list = reverse("admin:calls_deadletter_changelist")
        self.page = reverse("admin:calls_deadletter_change", args=[self.letter.pk])

    def enter(self, name: str, *, superuser: bool = False, member: bool = False) -> None:
        users = get_user_model().objects
        if superuser:
            user = users.create_superuser(name, password="x")
        else:
            user = users.create_user(name, password="x", is_staff=True)
            user.groups.add(Group.objects.get(name="Operators"))
        if member:
            Membership.objects.create(user=user, business=self.business)
        self.client.force_login(user)

    def replay(self) -> str:
        data = {"action": "replay", "_selected_action": [str(self.letter.pk)]}
        return self.client.post(self.list, data, follow=True).content.decode()

    def test_a_superuser_sees_the_payload_and_the_counts(self) -> None:
        self.enter("root", superuser=True)
        self.assertIn(SPOKEN, self.client.get(self.page).content.decode())
        self.assertContains(self.client.get(self.list), "Waiting (1)")

    def test_staff_of_the_business_replay_without_seeing_the_payload(self) -> None:
        self.enter("ours", member=True)
        for address in (self.list, self.page):
            answer = self.client.get(address)
            self.assertEqual(answer.status_code, 200)
            self.assertNotContains(answer, SPOKEN)
        self.assertIn("1 replayed, 0 of them refused", self.replay())
        self.assertEqual(ConversationTurn.objects.get().user_text, SPOKEN)
        self.assertContains(self.client.get(self.list), "Waiting (0)")

    def test_staff_of_another_business_neither_see_nor_replay_it(self) -> None:
        self.enter("theirs")
        self.assertNotContains(self.client.get(self.list), CALL_SID)
        self.assertNotEqual(self.client.get(self.page).status_code, 200)
        self.replay()
        self.letter.refresh_from_db()
        self.assertIsNone(self.letter.replayed_at)

    def test_a_letter_that_fails_still_is_said_to(self) -> None:
        self.enter("root", superuser=True)
        with self.failing(IntegrityError(SPOKEN)):
            page = self.replay()
        self.assertIn("it fails still: IntegrityError", page)
        self.assertNotIn(SPOKEN, page)
