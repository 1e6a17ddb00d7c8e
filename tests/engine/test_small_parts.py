from django.test import SimpleTestCase

from media.engine import states
from media.engine.caller_audio import WaitingAudio
from media.engine.deadlines import Deadline, Deadlines
from media.engine.responses import Responses
from media.engine.states import CallState, IllegalMove, Move
from tests.engine.driver import audio


class DeadlinesByName(SimpleTestCase):
    def test_the_earliest_one_arms_the_timer(self) -> None:
        deadlines = Deadlines()
        self.assertIsNone(deadlines.earliest())
        self.assertIsNone(deadlines.expire(99.0))
        deadlines.set(Deadline.TOOL, 5.0)
        deadlines.set(Deadline.MEDIA, 3.0)
        self.assertEqual(deadlines.earliest(), 3.0)
        self.assertIsNone(deadlines.expire(2.9))
        self.assertEqual([deadlines.expire(9.0) for _ in range(3)], [Deadline.MEDIA, Deadline.TOOL, None])

    def test_a_name_has_one_time(self) -> None:
        deadlines = Deadlines()
        deadlines.set(Deadline.TOOL, 5.0)
        deadlines.set(Deadline.TOOL, 7.0)
        self.assertEqual(deadlines.earliest(), 7.0)
        deadlines.set(Deadline.TOOL, None)
        deadlines.drop(Deadline.TOOL)
        self.assertIsNone(deadlines.earliest())

    def test_none_is_left_after_a_clear(self) -> None:
        deadlines = Deadlines()
        deadlines.set(Deadline.TOOL, 5.0)
        deadlines.clear()
        self.assertIsNone(deadlines.earliest())


class StatesAndMoves(SimpleTestCase):
    def test_every_state_can_be_reached_and_every_one_leads_to_the_end(self) -> None:
        def reachable(start: CallState) -> set[CallState]:
            seen, todo = {start}, [start]
            while todo:
                for target in states.MOVES[todo.pop()].values():
                    if target not in seen:
                        seen.add(target)
                        todo.append(target)
            return seen

        self.assertEqual(reachable(states.INITIAL), set(CallState))
        for state in CallState:
            self.assertIn(CallState.OVER, reachable(state))

    def test_a_move_that_the_table_does_not_have_is_an_error_of_ours(self) -> None:
        self.assertIs(states.after(CallState.TALKING, Move.ENDED), CallState.SETTLING)
        with self.assertRaises(IllegalMove):
            states.after(CallState.OVER, Move.ENDED)


class OneAnswerAtATime(SimpleTestCase):
    def test_the_end_of_another_response_does_not_end_the_active_one(self) -> None:
        responses = Responses()
        responses.started("r1")
        responses.finished("r0")
        self.assertEqual(responses.active, "r1")

    def test_a_caller_who_stops_without_having_started_is_no_reason_to_wait(self) -> None:
        responses = Responses()
        responses.caller_stopped(1.0)
        responses.want()
        self.assertIsNone(responses.deadline(1.0))
        self.assertTrue(responses.may_ask(1.0))

    def test_a_refusal_without_a_running_answer_is_not_asked_again(self) -> None:
        responses = Responses()
        responses.want()
        responses.may_ask(1.0)
        responses.refused(answering_already=True)
        self.assertFalse(responses.busy)


class AudioThatWaits(SimpleTestCase):
    def test_it_comes_out_once_and_in_order(self) -> None:
        waiting = WaitingAudio()
        self.assertEqual([waiting.keep(audio(20, n)) for n in range(3)], [0, 0, 0])
        self.assertEqual(waiting.release(), [audio(20, n) for n in range(3)])
        self.assertEqual(waiting.release(), [])

    def test_frames_of_any_size_share_the_five_seconds(self) -> None:
        waiting = WaitingAudio()
        waiting.keep(audio(3000))
        self.assertEqual(waiting.keep(audio(2000)), 0)
        self.assertEqual(waiting.keep(audio(20)), 1)
        self.assertEqual(waiting.keep(audio(6000)), 3)
        self.assertEqual(waiting.release(), [])
