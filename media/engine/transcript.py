"""Who said what, in the order of the conversation: items in, turns out.

Three laws.
1. Order comes from the chain (`previous_item_id`), never from arrival: the text of what a caller said may come
   after the answer to it, and even after the next turn.
2. A turn is one exchange. Each item of the caller opens one; the agent's items, also those after a tool has
   run, belong to the caller's item before them. Turn 0 is the greeting: what the agent says before the caller's
   first item. Without a greeting the first turn is number 1. (A resumed call's stream counts from its own first
   number on.)
3. A turn is saved once it is settled; whatever comes later makes a higher revision of it. No turn is ever taken
   back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from media.engine.commands import Turn
from media.engine.config import PastItem
from media.engine.playback import SpokenItem


@dataclass(slots=True)
class _Item:
    item_id: str
    role: str  # "user", "assistant", or else: it holds the chain together and has no text
    started: float
    ended: float
    previous: str | None = None  # the item it follows, known or not
    text: str = ""
    settled: bool = False  # caller only: the text is here, or will not come
    settle_by: float = 0.0
    own: bool = False  # audio of our own: it comes right behind the item it follows, whatever else does
    exchange: int = 0  # which one it was found to be part of


@dataclass(slots=True)
class _Exchange:
    caller: _Item | None  # None: what the agent says before the caller's first item
    answers: list[_Item] = field(default_factory=list)


def heard_part(text: str, heard_ms: int, generated_ms: int) -> str:
    """The part of a spoken text that was heard, by proportion, without a half-heard word at its end."""
    if generated_ms <= 0 or heard_ms <= 0:
        return ""
    if heard_ms >= generated_ms:
        return text
    end = len(text) * heard_ms // generated_ms
    if any(map(str.isspace, text)):  # else: written without spaces, every character is a place to cut
        while end > 0 and not text[end].isspace():
            end -= 1
    return text[:end].rstrip()


class Transcript:
    """`silence_seconds`: how long the caller has been silent when the model says that it has stopped."""

    def __init__(self, grace_seconds: float, first_index: int = 0, silence_seconds: float = 0.0) -> None:
        self._grace_seconds = grace_seconds
        self._silence_seconds = silence_seconds
        self._forgotten: set[str] = set()
        self._other_names: dict[str, str] = {}  # the model's for our items
        self._first_index = first_index
        self._items: dict[str, _Item] = {}
        self._order: list[_Item] | None = []  # as `_in_order` found it; None: to be found anew
        self._exchanges: list[_Exchange] = [_Exchange(None)]  # the same, in turns
        self._awaited: set[str] = set()  # items that others follow, and that are not known
        self._missing: dict[str, _Item] = {}  # the caller's whose text is to come
        self._announced: set[str] = set()  # the caller's that began or ended, and are no items yet
        self._speech_started: dict[str, float] = {}  # the caller's items to come
        self._speech_stopped: dict[str, float] = {}
        self._saved: dict[int, Turn] = {}
        self._done = 0  # the first so many exchanges are saved as they are; what touches one of them takes that back

    # --- What is said ---------------------------------------------------------------------------------------

    def item_added(self, item_id: str, role: str, previous: str | None, text: str, now: float) -> None:
        """An item took its place in the conversation. `previous` None: at the end, or where it is already."""
        if item_id in self._other_names:
            return
        previous = self._other_names.get(previous, previous) if previous is not None else None
        item = self._item(item_id, role, now)
        if text and item.role == "user":
            self.caller_said(item_id, text, now)
        if previous is not None and item.previous is None:
            self._place(item, previous)

    def speech_started(self, item_id: str, now: float) -> None:
        self._speech_started.setdefault(item_id, now)
        self._announce(item_id)

    def speech_stopped(self, item_id: str, now: float) -> None:
        self._speech_stopped.setdefault(item_id, now)
        self._announce(item_id)

    def caller_said(self, item_id: str, text: str, now: float) -> None:
        item = self._touched(item_id, "user", now)
        item.text = text
        self._settle(item)

    def caller_unclear(self, item_id: str, now: float) -> None:
        """The caller's words could not be transcribed."""
        self._settle(self._touched(item_id, "user", now))

    def agent_item(self, item_id: str, now: float) -> None:
        """The agent speaks; usually the item is known already."""
        self._touched(item_id, "assistant", now)

    def agent_text(self, item_id: str, delta: str, now: float) -> None:
        self._touched(item_id, "assistant", now).text += delta

    def agent_text_done(self, item_id: str, text: str, now: float) -> None:
        self._touched(item_id, "assistant", now).text = text

    def own_words(self, item_id: str, text: str, now: float) -> None:
        """The agent says something of our own, without the model: behind whatever was said last."""
        last = self._in_order()[-1].item_id if self._items else None
        item = self._item(item_id, "assistant", now)
        item.text, item.own = text, True
        if last is not None:
            self._place(item, last)

    def forget(self, item_id: str, now: float) -> None:
        """That was nobody's words: it makes no turn, but keeps the chain together."""
        self._forgotten.add(item_id)
        item = self._item(item_id, "", now)
        item.role = ""
        self._settle(item)
        self._find_order_anew()

    def model_changed(self, now: float) -> None:
        """Another session goes on: what the one before has not written down by now will not come."""
        self._done = 0
        for item in self._items.values():
            self._settle(item)
        for item_id in list(self._announced):
            self.forget(item_id, now)

    def replaced(self, new_id: str, item_id: str) -> None:
        """The model knows the item by another name from now on: what follows that, follows the item."""
        self._other_names[new_id] = item_id

    def text_heard(self, audio: SpokenItem) -> str | None:
        """Of the words of an item the part that the caller heard; None: it had no words."""
        item = self._items.get(audio.item_id)
        if item is None or not item.text.strip():
            return None
        return heard_part(item.text, audio.heard_ms, audio.received_ms).strip()

    def past(self, spoken: Mapping[str, SpokenItem]) -> Iterator[PastItem]:
        """What was said until now, for a session that has not heard it; of what was cut only the part that was heard.
        Items keep their names, so that the chain goes on behind them."""
        for item in self._in_order():
            audio = spoken.get(item.item_id)
            text = item.text
            if audio is not None and audio.cut:
                text = heard_part(text, audio.heard_ms, audio.received_ms)
            if item.role in ("user", "assistant") and text.strip():
                yield PastItem(item.item_id, item.role, text.strip())

    @property
    def answer_owed(self) -> bool:
        """Was the caller the last to say something?"""
        last = next((item for item in reversed(self._in_order()) if item.role in ("user", "assistant")), None)
        return last is not None and last.role == "user"

    def words_of_agent(self) -> str:
        """What the agent has just been saying: its last two items."""
        said = [item.text for item in self._in_order() if item.role == "assistant"]
        return " ".join(said[-2:])

    # --- What is waited for ---------------------------------------------------------------------------------

    @property
    def caller_is_speaking(self) -> bool:
        """Did the caller begin something that has not ended, and is no item yet?"""
        return any(item_id not in self._speech_stopped for item_id in self._announced)

    @property
    def owed(self) -> bool:
        """Is the text of anything the caller said, or is saying, still to come?"""
        return bool(self._missing or self._announced)

    def deadline(self) -> float | None:
        """When the first of the missing texts has been waited for long enough."""
        return min((item.settle_by for item in self._missing.values()), default=None)

    def tick(self, now: float) -> int:
        """Stop waiting for texts that are overdue; return how many."""
        overdue = [item for item in self._missing.values() if item.settle_by <= now]
        for item in overdue:
            self._settle(item)
            self._done = min(self._done, item.exchange)
        return len(overdue)

    # --- Turns ----------------------------------------------------------------------------------------------

    def to_save(self, spoken: Mapping[str, SpokenItem], *, quiet: bool) -> list[Turn]:
        """The turns that are settled and differ from what was saved of them; they count as saved from now on.

        `quiet`: the agent has said all it has to say for now; only then the last turn can be settled.
        """
        exchanges = self._in_turns()
        turns = []
        for number in range(self._done, len(exchanges)):
            exchange = exchanges[number]
            is_last = number == len(exchanges) - 1
            settled = (
                (not is_last or (quiet and bool(exchange.answers)))
                and (exchange.caller is None or exchange.caller.settled)
                and not any(_is_open(spoken.get(item.item_id)) for item in exchange.answers)
            )
            if not settled:
                continue
            if number == self._done and not is_last:
                self._done += 1
            index = self._first_index + number
            if (turn := self._changed(index, exchange, spoken)) is not None:
                self._saved[index] = turn
                turns.append(turn)
        return turns

    def all_turns(self, spoken: Mapping[str, SpokenItem]) -> tuple[Turn, ...]:
        """Every turn of the call in its last form, settled or not."""
        for index, exchange in enumerate(self._in_turns(), start=self._first_index):
            turn = self._changed(index, exchange, spoken)
            if turn is not None:
                self._saved[index] = turn
        return tuple(self._saved[index] for index in sorted(self._saved))

    def _changed(self, index: int, exchange: _Exchange, spoken: Mapping[str, SpokenItem]) -> Turn | None:
        """The turn with its next revision, or None if nothing is new in it."""
        caller, answers = exchange.caller, exchange.answers
        saved = self._saved.get(index)
        turn = _turn(index, saved.revision if saved else 0, caller, answers, spoken)
        if caller is not None and caller.item_id in self._speech_stopped:
            turn = _with_latency(turn, caller.ended - self._silence_seconds, answers, spoken)
        if saved is None:
            return None if caller is None and not turn.bot_reply and not turn.generated_ms else turn
        return None if turn == saved else replace(turn, revision=saved.revision + 1)

    # --- The chain ------------------------------------------------------------------------------------------

    def _item(self, item_id: str, role: str, now: float) -> _Item:
        item = self._items.get(item_id)
        if item is None:
            started = self._speech_started.get(item_id, now)
            ended = max(started, self._speech_stopped.get(item_id, now))  # "stopped" may come before "started"
            role = "" if item_id in self._forgotten else role
            item = _Item(item_id, role, started, ended, settle_by=now + self._grace_seconds)
            self._items[item_id] = item
            self._announced.discard(item_id)
            if role == "user":
                self._missing[item_id] = item
            if self._order is None or item_id in self._awaited:
                self._awaited.discard(item_id)
                self._find_order_anew()
            else:  # nearly always: it is the last, and nothing before it changes
                self._append(item, self._order)
        return item

    def _announce(self, item_id: str) -> None:
        if item_id not in self._items:
            self._announced.add(item_id)

    def _settle(self, item: _Item) -> None:
        item.settled = True
        self._missing.pop(item.item_id, None)

    def _touched(self, item_id: str, role: str, now: float) -> _Item:
        """The item, of which something is about to change."""
        item = self._item(item_id, role, now)
        self._done = min(self._done, item.exchange)
        return item

    def _find_order_anew(self) -> None:
        self._order = None
        self._done = 0

    def _place(self, item: _Item, previous: str) -> None:
        """Put an item, and all that follows it, right behind another one, which may be still to come."""
        if self._order is not None and [each.item_id for each in self._order[-2:]] == [previous, item.item_id]:
            item.previous = previous  # nearly always: that is where it is
            return
        forerunner: str | None = previous
        while forerunner is not None:
            if forerunner == item.item_id:
                return  # it would follow itself
            known = self._items.get(forerunner)
            forerunner = known.previous if known is not None else None
        item.previous = previous
        if previous not in self._items:
            self._awaited.add(previous)
        self._find_order_anew()

    def _in_order(self) -> list[_Item]:
        """All items; those whose forerunner is not known stand in the order of their arrival."""
        if self._order is None:
            self._order, self._exchanges = [], [_Exchange(None)]
            followers: dict[str, list[_Item]] = {}
            todo: list[_Item] = []
            for item in self._items.values():
                if item.previous is None or item.previous not in self._items:
                    todo.append(item)
                else:
                    followers.setdefault(item.previous, []).append(item)
            for behind in followers.values():
                behind.sort(key=lambda item: item.own)
            todo.reverse()
            while todo:
                self._append(item := todo.pop(), self._order)
                todo += followers.get(item.item_id, ())  # the latest of several was put in before the others
        return self._order

    def _in_turns(self) -> list[_Exchange]:
        self._in_order()
        return self._exchanges

    def _append(self, item: _Item, order: list[_Item]) -> None:
        order.append(item)
        if item.role == "user":
            self._exchanges.append(_Exchange(item))
        elif item.role == "assistant":
            self._exchanges[-1].answers.append(item)
        item.exchange = len(self._exchanges) - 1


def _is_open(spoken: SpokenItem | None) -> bool:
    return spoken is not None and not spoken.cut and not spoken.wholly_heard


def _turn(
    index: int, revision: int, caller: _Item | None, answers: list[_Item], spoken: Mapping[str, SpokenItem]
) -> Turn:
    played = [(item.text.strip(), spoken.get(item.item_id)) for item in answers]
    audible = [audio for _, audio in played if audio is not None]
    heard = [heard_part(text, audio.heard_ms, audio.received_ms) for text, audio in played if audio is not None]
    times = [(each.started, each.ended) for each in audible]
    if caller is not None:
        times.append((caller.started, caller.ended))
    times = times or [(item.started, item.ended) for item in answers] or [(0.0, 0.0)]
    return Turn(
        index=index,
        revision=revision,
        user_text=caller.text.strip() if caller is not None else "",
        bot_reply=" ".join(text for text, _ in played if text),
        heard_text=" ".join(text for text in heard if text),
        generated_ms=sum(audio.received_ms for audio in audible),
        heard_ms=sum(audio.heard_ms for audio in audible),
        interrupted=any(audio.cut for audio in audible),
        started=min(started for started, _ in times),
        ended=max(ended for _, ended in times),
    )


def _with_latency(turn: Turn, stopped: float, answers: list[_Item], spoken: Mapping[str, SpokenItem]) -> Turn:
    """`stopped`: when the caller did. What we put in between ourselves is no answer."""
    first = next((audio for item in answers if (audio := spoken.get(item.item_id)) and not item.own), None)
    if first is None or first.first_sent is None:
        return turn
    heard_ms = None if first.first_heard is None else _milliseconds(first.first_heard - stopped)
    return replace(turn, reply_ms=_milliseconds(first.first_sent - stopped), reply_heard_ms=heard_ms)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
