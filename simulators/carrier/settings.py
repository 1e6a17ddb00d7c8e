"""What one carrier needs to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from simulators.carrier.faults import Faults


class Clip(Protocol):
    """A piece of speech: what `simulators.speech.load` gives."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def audio(self) -> bytes: ...


def load_clip(name: str) -> Clip:
    """A clip shipped with the simulators; KeyError names the known ones."""
    from simulators import speech  # here, so that a carrier with its own clips needs none

    return speech.load(name)


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody whom a `<Dial>` or the API calls. `does`: answers, busy, no-answer or failed; `keys` are pressed when
    asked for, unless the colleague `hangs_up` then. Who was joined to a caller hangs up when they have talked. Times
    in seconds."""

    does: str = "answers"
    rings: float = 1.0
    talks: float = 2.0
    keys: str = "1"
    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller answers at a `<Gather>`: keys, or words as the carrier understands them, with its `confidence`
    (0.0 to 1.0; None: it tells none). Neither: the caller is silent."""

    keys: str = ""
    words: str = ""
    confidence: float | None = 0.9


@dataclass(frozen=True, slots=True)
class Message:
    """What a caller says after the tone of a `<Record>`: clips, one after the other. `ends`: silence, hang-up, or a
    key."""

    clips: tuple[str, ...] = ()
    ends: str = "silence"


@dataclass(frozen=True, slots=True)
class Settings:
    """`public_url` is signed and named in TwiML; `connect_to` is where that origin really answers, as plain HTTP.

    `time_scale` stretches what only takes time (Say, Play, Pause, a transferred call). `action_after_hangup`: whether
    the `<Connect action>` is requested when the caller hung up (its answer is not executed either way; unverified).
    """

    public_url: str
    account_sid: str
    auth_token: str
    connect_to: tuple[str, int] | None = None
    voice_path: str = "/twilio/voice/"
    voice_method: str = "POST"
    status_path: str = ""
    fallback_path: str = ""
    status_events: tuple[str, ...] = ("completed",)  # of a number: completed only, unless set otherwise
    faults: Faults = field(default_factory=Faults)
    clips: Callable[[str], Clip] = load_clip
    time_scale: float = 1.0
    action_after_hangup: bool = True
    close_code: int = 1000
    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    max_call_seconds: float = 600.0
    callee: str = "answers"  # of a call made through the API: answers, busy, no-answer, failed
    rings: float = 0.0  # ... after so many seconds
    hangs_up: bool = False  # ... when asked for a key
    amd_callback: str = ""  # of a call made through the API with asynchronous machine detection
    answered_by: str = "human"  # or unknown, fax, machine_end_beep, machine_end_silence, machine_end_other
    amd_ms: int = 1000  # how long the verdict takes: it may come before or after the stream starts
    colleague: Colleague = Colleague()  # whoever is dialled
    colleagues: Mapping[str, Colleague] = field(default_factory=dict)  # ... or, by number, somebody else
    replies: tuple[Reply, ...] = ()  # what the caller answers at each <Gather>, one after the other
    message: Message = Message()  # what the caller says at a <Record>
    failed_webhook_status: str = "completed"  # the caller heard an application error; unverified
    seed: int | None = None

    def absolute(self, path: str) -> str:
        """A path on the public origin; an absolute URL stays as it is."""
        return urljoin(self.public_url, path)

    def is_public(self, url: str) -> bool:
        """Whether a URL, of any scheme, is on the public host and port."""
        return _host_port(url) == _host_port(self.public_url)


def _host_port(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme in {"https", "wss"} else 80)
