"""Who has the floor: the caller makes a sound, and the agent stops, goes on, or answers."""

from base64 import b64decode
from collections import Counter, deque

from media.engine.commands import CancelResponse, ClearPlayback, Command, DropItem, ReplaceItem, TruncateItem
from media.engine.config import CallConfig
from media.engine.deadlines import Deadline, Deadlines
from media.engine.echo import LONGEST_FRAMES, is_echo
from media.engine.interruption import LONG_SECONDS, Interruption, Verdict
from media.engine.playback import AHEAD_BYTES, Playback, SpokenItem
from media.engine.responses import Responses
from media.engine.transcript import Transcript

NEAR_THE_END_SECONDS = 1.5  # of the agent's speech left: whoever says "yes" then is answering
FRAME_SECONDS = 0.02
KEPT_FRAMES = 200  # of the caller, 4 s
BEFORE_SPEECH_SECONDS = 0.6  # it began that much before the model said so
UNSURE_BYTES = tuple(range(0, AHEAD_BYTES + 1, AHEAD_BYTES // 4))  # of what was cleared, that may have been heard
ECHO_LOOK_SECONDS = 0.2  # of a sound, until it can be told whether it is an echo


class Floor:
    """`caller_audio`: the latest frames of the caller, for whoever gets them to put there."""

    def __init__(
        self,
        config: CallConfig,
        deadlines: Deadlines,
        counters: Counter[str],
        playback: Playback,
        responses: Responses,
        transcript: Transcript,
    ) -> None:
        self.caller_audio: deque[str] = deque(maxlen=KEPT_FRAMES)
        self.caller_spoke = False  # since this was last looked at: words, not only a sound
        self._traits = config.traits
        self._deadlines = deadlines
        self._counters = counters
        self._playback = playback
        self._responses = responses
        self._transcript = transcript
        self._interruption = Interruption(config.traits.silence_seconds, config.back_channels)
        self._echo_seen = False  # this caller's loudspeaker comes back
        self._sound_began = 0.0  # the latest of the caller's
        self._sound_ended = 0.0
        self._perhaps_nothing = ""  # the item of a short sound that is being answered
        self._suspect = ""  # the item of a sound that is taken for an echo so far
        self._look_again_at: float | None = None
        # What the caller said that is neither written down nor answered: frames by item, none yet while it is said.
        self._unwritten: dict[str, list[str]] = {}
        self._unwritten_since = 0.0
        self._talks_over = ""  # the item of a sound during something that nobody may stop
        self._of_sessions_before: frozenset[str] = frozenset()  # items that the present one has as text only

    @property
    def in_doubt(self) -> bool:
        """Has the agent stopped, and is it not known yet whether it was interrupted?"""
        return bool(self._interruption)

    @property
    def waits_for_playback(self) -> bool:
        """Does the caller speak over something that nobody may stop, and is to be listened to when that has ended?"""
        return bool(self._talks_over)

    def doubt_until(self) -> float | None:
        return self._interruption.deadline()

    def take_caller_spoke(self) -> bool:
        """Has the caller said something since this was last asked?"""
        spoke, self.caller_spoke = self.caller_spoke, False
        return spoke

    def speech_started(self, item_id: str, now: float) -> list[Command]:
        self._transcript.speech_started(item_id, now)
        self._sound_began = now
        if not self._unwritten:
            self._unwritten_since = now
        self._unwritten[item_id] = []
        self._responses.caller_started()
        if not (self._playback.busy or self._responses.active is not None or self._responses.on_its_way):
            self.caller_spoke = True
            return []
        if self._playback.is_protected(now):
            self._talks_over = item_id
            return []
        if self._echo_seen and not self.in_doubt and self._playback.on_the_line:
            self._suspect, self._look_again_at = item_id, now + ECHO_LOOK_SECONDS
            return []
        return self._stop_speaking(item_id, now)

    def speech_stopped(self, item_id: str, now: float) -> list[Command]:
        if self._talks_over == item_id:
            self._talks_over = ""
        if item_id in self._unwritten:
            self._unwritten[item_id] = self._latest_sound(now)
        self._sound_ended = now
        if item_id in self._interruption:
            self._interruption.ended(item_id, now, echo=self._sounds_like_echo(now) is True)
            self._responses.caller_paused()
            return []
        suspected = item_id == self._suspect
        if suspected:
            self._suspect, self._look_again_at = "", None
        if self._sounds_like_echo(now):
            self._responses.caller_paused()
            self._echo_seen = True
            self._counters["echoes"] += 1
            return self._forget(item_id, now)
        if suspected:  # on this line even what does not sound like an echo waits for its words
            commands = self._stop_speaking(item_id, now)
            self._interruption.ended(item_id, now, echo=False)
            self._responses.caller_paused()
            return commands
        self.caller_spoke = True
        is_short = now - self._sound_began < self._traits.silence_seconds + LONG_SECONDS
        self._perhaps_nothing = item_id if is_short else ""
        self._responses.caller_stopped(now)
        return []

    def nothing_was_said(self, item_id: str, now: float) -> list[Command]:
        """There are no words in it. A short sound that is about to be answered, while nobody spoke, needs no answer."""
        self.has_words(item_id, "")
        if item_id != self._perhaps_nothing or self._playback.busy or self._responses.caller_speaks:
            return []
        active = self._responses.active
        if active is not None:
            self._responses.cut(active)
        self._responses.cut_next()
        self._responses.drop_wish()
        cancel: list[Command] = [CancelResponse(active)] if active is not None else []
        self._counters["false_interruptions"] += 1
        return [*cancel, *self._forget(item_id, now)]

    def has_words(self, item_id: str, text: str) -> None:
        self._unwritten.pop(item_id, None)
        if item_id in self._interruption:
            # Who says "no" at the end of "yes or no" is answering, if this line is not known for its echoes.
            may_be_echo = self._echo_seen or not self._interruption.near_the_end
            self._interruption.has_words(item_id, text, self._transcript.words_of_agent() if may_be_echo else "")

    def response_started(self, response_id: str) -> list[Command]:
        if self._responses.started(response_id) and not self._traits.cancels_itself:
            return [CancelResponse(response_id)]
        return []

    def key_pressed(self, now: float) -> list[Command]:
        """Whoever types what was asked for need not hear the rest."""
        responses = self._responses
        if not (self._playback.busy or self.in_doubt or responses.active is not None or responses.on_its_way):
            return []
        clear: list[Command] = [ClearPlayback()] if self._playback.on_the_line else []
        self._interruption.sounds.clear()
        return clear + self._cut_agent(now)

    def look_again(self, now: float) -> list[Command]:
        """A sound that was taken for an echo goes on: if it is none any more, it is the caller."""
        item_id = self._suspect
        if self._sounds_like_echo(now) is not False:  # or there is too little of it to tell
            self._look_again_at = now + ECHO_LOOK_SECONDS
            return []
        self._suspect, self._look_again_at = "", None
        return self._stop_speaking(item_id, now)

    def settle(self, now: float) -> list[Command]:
        """Decide what can be decided by now."""
        commands: list[Command] = []
        if self._talks_over and not self._playback.is_protected(now):
            item_id, self._talks_over = self._talks_over, ""
            if self._playback.busy:
                commands += self._stop_speaking(item_id, now)
        until = self._interruption.deadline()
        if until is not None and now >= until and self._sounds_like_echo(now):
            self._interruption.long_ones_are_echoes(now)
        verdict = self._interruption.verdict(now) if self._interruption else Verdict.OPEN
        if verdict is Verdict.OPEN:
            return commands
        if verdict is Verdict.INTERRUPTS:
            return commands + self._interrupt(now)
        return commands + self._go_on(now)

    def answered(self) -> None:
        """The model has answered: whatever the caller said before, it has heard."""
        if not self._responses.caller_speaks:
            self._unwritten.clear()

    def take_unheard(self, now: float) -> list[str]:
        """The session is gone, and what the caller was saying, or had just said, is not written down: the frames of it,
        as far as they are here, for the next session to hear. Its item is forgotten; it will get another."""
        if not self._unwritten:
            return []
        frames = self._frames(now - self._unwritten_since + BEFORE_SPEECH_SECONDS)
        if len(frames) == KEPT_FRAMES:  # too long ago to be kept in one piece: without the silence between, and since
            frames = [frame for sound in self._unwritten.values() for frame in sound]
            if self._responses.caller_speaks:
                frames += self._latest_sound(now)
        for item_id in self._unwritten:
            self._transcript.forget(item_id, now)
        self._unwritten.clear()
        return frames[-KEPT_FRAMES:]

    def _latest_sound(self, now: float) -> list[str]:
        """The frames of it up to now, without those of the sound before."""
        return self._frames(now - max(self._sound_began - BEFORE_SPEECH_SECONDS, self._sound_ended))

    def _frames(self, seconds: float) -> list[str]:
        """The caller's latest."""
        frames = round(seconds / FRAME_SECONDS)
        return list(self.caller_audio)[-frames:] if frames else []

    def set_deadlines(self) -> None:
        self._deadlines.set(Deadline.DOUBT, self._interruption.deadline())
        self._deadlines.set(Deadline.ECHO, self._look_again_at)

    def model_changed(self, now: float) -> list[Command]:
        """What the sounds were will not be said any more: the agent goes on with what it has."""
        was_in_doubt = self.in_doubt
        self._interruption.sounds.clear()
        self._suspect, self._talks_over, self._look_again_at = "", "", None
        self._of_sessions_before = frozenset(self._playback.items)
        return [*self._playback.resume(now)] if was_in_doubt else []

    # --- What comes of it -----------------------------------------------------------------------------------

    def _stop_speaking(self, item_id: str, now: float) -> list[Command]:
        """At once; whether it was right to stop is seen afterwards."""
        first = not self._interruption
        self._interruption.began(item_id, now)
        clear: list[Command] = [ClearPlayback()] if self._playback.on_the_line else []
        self._playback.hold(now)
        if first:
            left = self._playback.waiting_seconds
            self._interruption.near_the_end = left < NEAR_THE_END_SECONDS and not self._playback.has_open_ends
        return clear

    def _go_on(self, now: float) -> list[Command]:
        """It was no interruption: from where the caller left off hearing."""
        commands: list[Command] = []
        for item_id, sound in self._interruption.sounds.items():
            self._counters["echoes" if sound.verdict is Verdict.ECHO else "false_interruptions"] += 1
            self._echo_seen = self._echo_seen or sound.verdict is Verdict.ECHO
            if sound.verdict is not Verdict.LISTENS:
                commands += self._forget(item_id, now)
        self._interruption.sounds.clear()
        return [*commands, *self._playback.resume(now)]

    def _interrupt(self, now: float) -> list[Command]:
        """The rest is not said; the model is told how much was heard, and answers once the caller has stopped."""
        has_stopped = all(sound.ended is not None for sound in self._interruption.sounds.values())
        self._interruption.sounds.clear()
        self.caller_spoke = True
        if self._playback.busy:
            self._counters["interruptions"] += 1
        commands = self._cut_agent(now)
        if has_stopped:
            self._responses.caller_stopped(now)
        return commands

    def _cut_agent(self, now: float) -> list[Command]:
        commands = [truncate for item in self._playback.cut(now) for truncate in self._truncate(item)]
        active = self._responses.active
        if active is not None:
            self._responses.cut(active)
            if not self._traits.cancels_itself:
                commands.append(CancelResponse(active))
        self._responses.cut_next()
        return commands

    def _truncate(self, item: SpokenItem) -> list[Command]:
        has_text = not item.response_id or item.item_id in self._of_sessions_before
        if not has_text:
            self._responses.cut(item.response_id)
        if not self._traits.needs_truncate or not item.received:
            return []
        if has_text:
            return self._replace(item)
        return [TruncateItem(item.item_id, min(item.heard_ms, item.received_ms))]

    def _replace(self, item: SpokenItem) -> list[Command]:
        """The model has it as text, which is not truncated but written anew."""
        text = self._transcript.text_heard(item)
        if text is None:
            return []  # a tone: the model never had it
        if not text:
            return [DropItem(item.item_id)]
        new_id = f"{item.item_id}_cut"
        self._transcript.replaced(new_id, item.item_id)
        return [ReplaceItem(item.item_id, new_id, text)]

    def _forget(self, item_id: str, now: float) -> list[Command]:
        self._unwritten.pop(item_id, None)
        self._transcript.forget(item_id, now)
        return [DropItem(item_id)]

    def _sounds_like_echo(self, now: float) -> bool | None:
        """None: that cannot be told."""
        lines = self._playback.heard_lately(now, UNSURE_BYTES)
        if not lines:
            return False
        # The sound itself and a moment before: an earlier one has another place on the line.
        frames = min(LONGEST_FRAMES, int((now - self._sound_began + BEFORE_SPEECH_SECONDS) / FRAME_SECONDS))
        try:
            caller = b"".join(map(b64decode, list(self.caller_audio)[-frames:]))
        except ValueError:  # no base64: nobody's voice
            return False
        return is_echo(lines, caller)
