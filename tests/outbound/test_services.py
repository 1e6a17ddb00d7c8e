"""What is asked for, and what becomes of it, without a carrier: states, keys, attempts, and the dialler's decisions."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime, time, timedelta
from typing import Any
from unittest import TestCase as PureTestCase
from unittest import mock

from django.test import TestCase, override_settings

from businesses.models import Agent, DialPolicy, DoNotCall
from calls.carriers import twilio_dialling
from calls.carriers.answers import CarrierCall, CarrierUnreachable
from calls.carriers.twilio_dialling import Declined, Outcome, OutcomeUnknown, Placed
from calls.models import CallLeg, CallLog
from outbound import dialler, services, states
from outbound.models import OutboundCall, OutboundState
from tests.businesses.worlds import World, make_world

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)  # noon in New York
NUMBER = "+12125550123"


class StatesTest(PureTestCase):
    def test_states_only_go_forward_and_an_end_stays(self) -> None:
        for current, reached in itertools.product(OutboundState, OutboundState):
            with self.subTest(current=current, reached=reached):
                moved = states.goes_on(current, reached)
                self.assertFalse(moved and states.goes_on(reached, current))
                self.assertFalse(moved and current in states.ENDED)
        self.assertTrue(states.goes_on("submitting", "busy"))
        self.assertTrue(states.goes_on("unknown", "ringing"))

    def test_the_carriers_words(self) -> None:
        self.assertEqual(states.from_carrier("initiated"), OutboundState.QUEUED)
        self.assertEqual(states.from_carrier("no-answer"), OutboundState.NO_ANSWER)
        for word in ("waiting", "refused", "unknown", "submitting", "", "exploded"):
            self.assertIsNone(states.from_carrier(word), word)

    def test_pauses_grow_and_only_for_those_who_were_not_reached(self) -> None:
        busy = [states.pause_before_next("busy", attempt) for attempt in (1, 2, 3, 9)]
        self.assertEqual(busy, [timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=1), timedelta(hours=1)])
        for ended in ("completed", "failed", "canceled", "refused"):
            self.assertIsNone(states.pause_before_next(ended, 1), ended)


class OutboundCase(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = make_world("Our", 1)
        OutboundCall.objects.all().delete()

    def place(self, to: str = NUMBER, key: str = "a", **fields: Any) -> OutboundCall:
        return services.place_call(**{"agent": self.world.agent, "to": to, "key": key, "now": NOW, **fields})

    def fresh(self, call: OutboundCall) -> OutboundCall:
        return OutboundCall.objects.get(pk=call.pk)


class PlacingTest(OutboundCase):
    def test_a_row_is_there_before_anybody_is_asked(self) -> None:
        call = self.place("(212) 555-0123", message=" Hello. ")
        self.assertEqual((call.state, call.to_number, call.message), (OutboundState.WAITING, NUMBER, "Hello."))
        self.assertEqual(call.from_number, self.world.number.number)

    def test_a_key_counts_once_in_a_business(self) -> None:
        first = self.place()
        self.assertEqual(self.place("+12125550199"), first)
        other = make_world("Their", 2)
        self.assertNotEqual(self.place(agent=other.agent).pk, first.pk)
        self.assertEqual(OutboundCall.objects.exclude(key="Their-key").count(), 2)

    def test_refusals_are_kept_with_their_reason(self) -> None:
        DoNotCall.objects.create(business=self.world.business, number=NUMBER)
        for to, reason in ((NUMBER, "do_not_call"), ("911", "emergency"), ("nobody", "malformed")):
            call = self.place(to, key=reason)
            self.assertEqual((call.state, call.reason, call.ended_at), (OutboundState.REFUSED, reason, NOW))

    def test_what_makes_no_sense_is_no_row(self) -> None:
        theirs = make_world("Their", 2)
        for wrong in ({"key": " "}, {"message": "x" * 601}, {"from_number": theirs.number.number}):
            with self.subTest(wrong), self.assertRaises(services.CannotPlace):
                self.place(**{"key": "b", **wrong})
        self.assertFalse(OutboundCall.objects.filter(business=self.world.business).exists())

    def test_an_agent_without_a_published_version_calls_nobody(self) -> None:
        novice = Agent.objects.create(business=self.world.business, name="Novice")
        self.assertEqual(self.place(agent=novice).reason, "not_published")


class CarrierSaysTest(OutboundCase):
    def say(self, call: OutboundCall, status: str, call_sid: str = "CA" + "7" * 32, **more: str) -> OutboundCall | None:
        return services.placed(call.token, call_sid, status, NOW, **more)

    def test_every_order_of_callbacks_ends_the_same(self) -> None:
        words = ("initiated", "ringing", "in-progress", "completed")
        for number, order in enumerate(itertools.permutations(words)):
            call = self.place(key=f"o{number}", to=f"+1212555{1000 + number}")
            for word in order:
                self.say(call, word, f"CA{number + 1000:032x}")
            self.assertEqual(self.fresh(call).state, OutboundState.COMPLETED, order)

    def test_the_first_word_makes_the_row_of_the_log(self) -> None:
        self.say(self.place(), "initiated")
        row = CallLog.objects.get(call_sid="CA" + "7" * 32)
        self.assertEqual((row.direction, row.to_number, row.business), ("outbound", NUMBER, self.world.business))
        self.assertEqual((row.status, row.agent_version), ("queued", self.world.published))

    def test_a_second_call_of_the_same_attempt_is_nobodys(self) -> None:
        call = self.place()
        self.say(call, "ringing")
        with self.assertLogs("outbound.services", "ERROR"):
            self.assertIsNone(self.say(call, "in-progress", "CA" + "8" * 32))
        self.assertEqual(self.fresh(call).call_sid, "CA" + "7" * 32)

    def test_an_unknown_token_is_nobodys(self) -> None:
        self.assertIsNone(services.placed("0" * 32, "CA" + "7" * 32, "ringing", NOW))

    def test_attempts_go_on_until_there_were_enough(self) -> None:
        call = self.place(message="Hello.")
        self.say(call, "busy")
        self.say(call, "busy")  # once more
        following = OutboundCall.objects.get(key="a", attempt=2)
        self.assertEqual((following.due_at, following.message), (NOW + timedelta(minutes=3), "Hello."))
        self.say(following, "no-answer", "CA" + "8" * 32)
        third = OutboundCall.objects.get(key="a", attempt=3)
        self.say(third, "busy", "CA" + "9" * 32)
        self.assertFalse(OutboundCall.objects.filter(key="a", attempt=4).exists())

    def test_who_wants_one_attempt_gets_one(self) -> None:
        self.say(self.place(tries_again=False), "busy")
        self.assertEqual(OutboundCall.objects.filter(key="a").count(), 1)


@override_settings(TWILIO_API_URL="http://127.0.0.1:1")
class DiallerTest(OutboundCase):
    def run_dialler(self, outcome: Outcome | None = None, now: datetime = NOW) -> list[dict[str, Any]]:
        """What the carrier was asked."""
        asked: list[dict[str, Any]] = []

        def place(**request: Any) -> Outcome:
            asked.append(request)
            return outcome or Placed(f"CA{CallLog.objects.count() + 1000:032x}")

        with mock.patch.object(twilio_dialling, "place", place):
            dialler.run(lambda: now)
        return asked

    def test_one_at_a_time_and_one_a_second(self) -> None:
        for number in range(3):
            self.place(f"+1212555{2000 + number}", key=str(number))
        self.assertEqual(len(self.run_dialler()), 1)
        self.assertEqual(self.run_dialler(now=NOW + timedelta(seconds=0.9)), [])
        self.assertEqual(len(self.run_dialler(now=NOW + timedelta(seconds=1))), 1)

    def test_the_pace_counts_from_the_carriers_answer(self) -> None:
        for number in range(2):
            self.place(f"+1212555{2000 + number}", key=str(number))
        # alone at work; begun; answered
        moments = iter(NOW + timedelta(seconds=seconds) for seconds in (0, 0.2, 0.3, 4))
        with mock.patch.object(twilio_dialling, "place", lambda **_: Placed("CA" + "7" * 32)):
            dialler.run(lambda: next(moments))
        row = OutboundCall.objects.get(call_sid="CA" + "7" * 32)
        self.assertEqual([row.submitted_at, row.answered_at], [NOW + timedelta(seconds=s) for s in (0.3, 4)])
        self.assertEqual(self.run_dialler(now=NOW + timedelta(seconds=4.9)), [])
        self.assertEqual(len(self.run_dialler(now=NOW + timedelta(seconds=5))), 1)

    def test_the_caps_of_an_hour_hold_while_dialling(self) -> None:
        DialPolicy.objects.create(business=self.world.business, max_per_hour=2)
        calls = [self.place(f"+1212555{2000 + number}", key=str(number)) for number in range(3)]
        with mock.patch("django.utils.timezone.now", lambda: NOW):
            for second in range(3):
                self.run_dialler(now=NOW + timedelta(seconds=second))
        self.assertEqual([self.fresh(call).reason for call in calls], ["", "", "hourly_cap"])

    def test_lines_of_a_business_are_waited_for_and_others_go_first(self) -> None:
        DialPolicy.objects.create(business=self.world.business, max_at_once=1)
        theirs = make_world("Their", 2)
        OutboundCall.objects.filter(business=theirs.business).delete()
        self.place(key="1")
        second = self.place("+12125550124", key="2")
        self.place("+12125550125", key="3", agent=theirs.agent)
        self.run_dialler()
        asked = self.run_dialler(now=NOW + timedelta(seconds=1))
        self.assertEqual([one["to"] for one in asked], ["+12125550125"])
        self.assertEqual((self.fresh(second).state, self.fresh(second).reason), ("waiting", "lines_busy"))

    @override_settings(OUTBOUND_CALLS_AT_ONCE=1)
    def test_the_account_has_a_limit_too(self) -> None:
        self.place(key="1")
        self.place("+12125550124", key="2")
        self.assertEqual(len(self.run_dialler()), 1)
        self.assertEqual(self.run_dialler(now=NOW + timedelta(seconds=5)), [])

    def test_nobody_is_called_at_night_and_a_day_later_no_more(self) -> None:
        DialPolicy.objects.create(business=self.world.business, calls_from=time(8), calls_until=time(9))
        call = self.place()
        self.assertEqual(self.run_dialler(), [])
        waiting = self.fresh(call)
        self.assertEqual((waiting.state, waiting.reason), ("waiting", "calling_hours"))
        self.assertEqual(waiting.due_at, NOW + timedelta(minutes=10))
        self.assertEqual(self.run_dialler(now=NOW + timedelta(hours=25)), [])
        self.assertEqual((self.fresh(call).state, self.fresh(call).reason), ("refused", "calling_hours"))

    def test_who_said_so_since_is_not_called(self) -> None:
        call = self.place()
        DoNotCall.objects.create(business=self.world.business, number=NUMBER)
        self.assertEqual(self.run_dialler(), [])
        self.assertEqual(self.fresh(call).reason, "do_not_call")

    def test_what_the_carrier_answers(self) -> None:
        for outcome, state, reason in (
            (Declined(21211), "refused", "carrier_21211"),
            (Declined(20429, come_again=True), "waiting", "carrier_20429"),
            (OutcomeUnknown("timeout"), "unknown", "timeout"),
        ):
            with self.subTest(reason):
                OutboundCall.objects.all().delete()
                call = self.place()
                self.run_dialler(outcome)
                self.assertEqual((self.fresh(call).state, self.fresh(call).reason), (state, reason))

    def test_a_callback_that_was_faster_than_the_answer_counts(self) -> None:
        call = self.place()

        def place(**request: Any) -> Outcome:
            services.placed(call.token, "CA" + "7" * 32, "ringing", NOW)
            return OutcomeUnknown("timeout")

        with mock.patch.object(twilio_dialling, "place", place):
            dialler.run(lambda: NOW)
        self.assertEqual((self.fresh(call).state, self.fresh(call).reason), ("ringing", ""))

    def test_without_a_carrier_nothing_waits_for_ever(self) -> None:
        call = self.place()
        with override_settings(TWILIO_API_URL="", TWILIO_IS_SIMULATED=True):
            dialler.run(lambda: NOW)
        self.assertEqual(self.fresh(call).reason, "no_carrier")


@override_settings(TWILIO_API_URL="http://127.0.0.1:1")
class ReconcilingTest(OutboundCase):
    def setUp(self) -> None:
        self.call = self.place()
        services.begin_submission(self.call, NOW)
        services.outcome_unknown(self.call, "timeout", NOW)

    def reconcile(self, *sids: str, after: timedelta = timedelta(seconds=5)) -> int:
        found = [CarrierCall(sid, "ringing", direction="outbound-api") for sid in sids]
        with mock.patch.object(twilio_dialling, "calls_to", lambda *_: found):
            return dialler.reconcile(NOW + after)

    def test_a_call_that_the_carrier_has_is_ours(self) -> None:
        self.assertEqual(self.reconcile("CA" + "7" * 32), 0)
        self.assertEqual((self.fresh(self.call).state, self.fresh(self.call).call_sid), ("ringing", "CA" + "7" * 32))

    def test_a_call_that_is_somebody_elses_is_not_taken(self) -> None:
        CallLog.objects.create(call_sid="CA" + "7" * 32, business=self.world.business)
        self.assertEqual(self.reconcile("CA" + "7" * 32), 1)
        self.assertEqual(self.fresh(self.call).state, "unknown")

    def test_nor_is_a_colleague_who_was_called_for_a_caller(self) -> None:
        call = CallLog.objects.create(call_sid="CA" + "9" * 32, business=self.world.business)
        CallLeg.objects.create(
            call=call, business=self.world.business, key="call_1", kind="warm", leg_sid="CA" + "7" * 32
        )
        self.assertEqual(self.reconcile("CA" + "7" * 32), 1)
        self.assertEqual(self.fresh(self.call).state, "unknown")

    def test_only_after_two_minutes_it_is_taken_for_not_placed_and_once(self) -> None:
        self.assertEqual(self.reconcile(after=timedelta(seconds=119)), 1)
        self.reconcile(after=timedelta(seconds=120))
        self.assertEqual((self.fresh(self.call).state, self.fresh(self.call).reason), ("waiting", "not_placed"))
        again = self.fresh(self.call)
        services.begin_submission(again, NOW)
        services.outcome_unknown(again, "timeout", NOW)
        self.reconcile(after=timedelta(seconds=130))
        self.assertEqual((self.fresh(self.call).state, self.fresh(self.call).reason), ("refused", "not_placed"))

    def test_what_was_found_out_too_late_does_not_touch_a_call_that_is_handed_over_again(self) -> None:
        late = self.fresh(self.call)  # as another process has read it, which is still waiting for the carrier's list
        self.reconcile(after=timedelta(seconds=120))
        again = self.fresh(self.call)
        services.begin_submission(again, NOW)
        services.wait_until(late, NOW, "not_placed", NOW)
        services.refuse(late, "not_placed", NOW)
        services.outcome_unknown(late, "worker_lost", NOW)
        self.assertEqual((self.fresh(again).state, self.fresh(again).reason), ("submitting", ""))
        self.assertFalse(services.begin_submission(late, NOW))

    def test_only_one_process_asks_for_the_carriers_list(self) -> None:
        with mock.patch.object(dialler, "only_one", lambda *_: contextlib.nullcontext(False)):
            self.assertEqual(self.reconcile("CA" + "7" * 32), 0)
        self.assertEqual(self.fresh(self.call).state, "unknown")

    def test_while_the_carrier_cannot_be_asked_nothing_is_placed_again(self) -> None:
        with mock.patch.object(twilio_dialling, "calls_to", side_effect=CarrierUnreachable("away")):
            self.assertEqual(dialler.reconcile(NOW + timedelta(hours=1)), 1)
        self.assertEqual(self.fresh(self.call).state, "unknown")

    def test_what_a_dead_worker_was_at_is_asked_about(self) -> None:
        lost = self.place("+12125550124", key="b")
        services.begin_submission(lost, NOW)
        self.assertEqual(self.reconcile(after=timedelta(seconds=46)), 2)
        self.assertEqual((self.fresh(lost).state, self.fresh(lost).reason), ("unknown", "worker_lost"))

    def test_too_many_unknown_and_nothing_more_is_handed_over(self) -> None:
        for number in range(2):
            call = self.place(f"+1212555{2000 + number}", key=str(number))
            services.begin_submission(call, NOW)
            services.outcome_unknown(call, "timeout", NOW)
        self.place("+12125550177", key="z")
        with mock.patch.object(twilio_dialling, "place", side_effect=AssertionError):
            dialler.run(lambda: NOW + timedelta(seconds=30))

    def test_an_end_whose_callback_was_lost_is_learnt_from_the_log(self) -> None:
        self.reconcile("CA" + "7" * 32)
        CallLog.objects.update(status="completed")
        self.assertEqual(services.follow_log(NOW), 1)
        self.assertEqual(self.fresh(self.call).state, "completed")
