from django.test import SimpleTestCase

from media.engine import states
from media.engine.caller_audio import WaitingAudio
from media.engine.commands import Respond, Say
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
    def asked(self, *, answers_itself: bool = False) -> Responses:
        responses = Responses(answers_itself=answers_itself)
        responses.want()
        self.assertEqual(responses.ask(1.0), [Respond()])
        return responses

    def test_the_end_of_another_response_does_not_end_the_active_one(self) -> None:
        responses = self.asked()
        responses.started("r1")
        responses.finished("r0", "completed", 1.0)
        self.assertEqual(responses.active, "r1")

    def test_a_caller_who_stops_is_answered_without_having_started(self) -> None:
        responses = Responses(answers_itself=False)
        responses.caller_stopped(1.0)
        self.assertIsNone(responses.deadline(1.0))
        self.assertEqual(responses.ask(1.0), [Respond()])

    def test_a_model_that_answers_by_itself_is_given_its_time(self) -> None:
        responses = Responses(answers_itself=True)
        responses.caller_stopped(1.0)
        self.assertEqual(responses.ask(9.0), [])  # it was not asked for anything
        responses.want()
        self.assertEqual(responses.ask(2.9), [])
        self.assertEqual(responses.deadline(2.9), 3.0)
        self.assertEqual(responses.ask(3.0), [Respond()])

    def test_its_own_answer_fulfils_what_was_wanted(self) -> None:
        responses = Responses(answers_itself=True)
        responses.want()
        responses.started("r1")
        responses.finished("r1", "completed", 1.0)
        self.assertFalse(responses.busy)

    def test_what_was_refused_is_asked_for_again_a_little_later(self) -> None:
        for conflict in (False, True):  # the answer it conflicted with has ended meanwhile
            responses = self.asked()
            responses.refused(1.0, answering_already=conflict)
            self.assertEqual(responses.ask(1.4), [])
            self.assertEqual(responses.deadline(1.4), 1.5)
            self.assertEqual(responses.ask(1.5), [Respond()])

    def test_an_answer_that_comes_all_the_same_was_not_refused(self) -> None:
        responses = self.asked()
        responses.refused(1.0, answering_already=False)
        responses.started("r1")
        responses.finished("r1", "completed", 2.0)
        self.assertFalse(responses.busy)

    def test_but_a_wish_made_meanwhile_is_one_of_its_own(self) -> None:
        responses = self.asked()
        responses.refused(1.0, answering_already=False)
        responses.want()
        responses.started("r1")
        responses.finished("r1", "completed", 2.0)
        self.assertEqual(responses.ask(2.0), [Respond()])

    def test_answers_that_fail_are_asked_for_again_ever_later_until_it_is_hopeless(self) -> None:
        responses, now = self.asked(), 1.0
        for number, wait in enumerate((0.5, 1.0, 1.5), start=1):
            responses.started(f"r{number}")
            responses.finished(f"r{number}", "failed", now)
            self.assertEqual(responses.failing, number == 3)
            self.assertEqual(responses.ask(now + wait - 0.1), [])
            now += wait
            self.assertEqual(responses.ask(now), [Respond()])
        responses.started("r4")
        responses.finished("r4", "completed", now)
        self.assertFalse(responses.failing)

    def test_a_failure_of_what_was_cut_is_none(self) -> None:
        responses = self.asked()
        responses.started("r1")
        responses.cut("r1")
        responses.finished("r1", "failed", 1.0)
        self.assertFalse(responses.busy)

    def test_another_session_owes_what_the_one_before_did(self) -> None:
        running, own, sentence = self.asked(), Responses(answers_itself=True), self.saying()
        running.started("r1")
        own.caller_stopped(1.0)
        for responses in (self.asked(), running, own, sentence):
            responses.model_changed()
            self.assertIsNone(responses.active)
            self.assertEqual(responses.ask(1.0), [Say("Goodbye.") if responses is sentence else Respond()])

    def saying(self) -> Responses:
        responses = Responses(answers_itself=False)
        responses.want_said("Goodbye.")
        self.assertEqual(responses.ask(1.0), [Say("Goodbye.")])
        return responses

    def test_a_sentence_that_fails_is_asked_for_again_as_what_it_was(self) -> None:
        responses = self.saying()
        responses.started("r1")
        responses.finished("r1", "failed", 1.0)
        self.assertEqual(responses.ask(1.4), [])
        self.assertEqual(responses.ask(1.5), [Say("Goodbye.")])
        responses.refused(2.0, answering_already=False)
        self.assertEqual(responses.ask(3.0), [Say("Goodbye.")])
        responses.started("r2")
        responses.finished("r2", "completed", 4.0)
        self.assertFalse(responses.busy)

    def test_a_sentence_that_comes_all_the_same_was_not_refused(self) -> None:
        responses = self.saying()
        responses.refused(1.0, answering_already=False)
        responses.started("r1")
        responses.finished("r1", "completed", 2.0)
        self.assertFalse(responses.busy)

    def test_a_sentence_that_was_cut_had_its_moment(self) -> None:
        for begun in (False, True):
            responses = self.saying()
            if begun:
                responses.started("r1")
                responses.cut("r1")
                responses.finished("r1", "failed", 1.0)
            else:
                responses.cut_next()
                responses.refused(1.0, answering_already=False)
            self.assertFalse(responses.busy)

    def test_of_a_sentence_that_was_half_said_the_next_session_is_asked_to_go_on(self) -> None:
        responses = self.saying()
        responses.started("r1")
        responses.note_audio("r1")
        responses.model_changed()
        self.assertEqual(responses.ask(1.0), [Respond()])

    def test_a_sentence_comes_before_an_answer(self) -> None:
        responses = Responses(answers_itself=False)
        responses.want()
        self.assertEqual(responses.ask(1.0, sentences_only=True), [])
        responses.want_said("Goodbye.")
        self.assertEqual(responses.ask(1.0), [Say("Goodbye.")])
        responses.started("r1")
        responses.finished("r1", "completed", 2.0)
        self.assertEqual(responses.ask(2.0), [Respond()])


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
