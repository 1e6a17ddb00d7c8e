"""What can go wrong on the way, chosen per call. The defaults are a line in good order."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """Each field is one fault. From the command line: `--fault name` or `--fault name=value`."""

    webhook_signature: str = "right"  # right, wrong, missing
    duplicate_webhook: bool = False  # the voice webhook twice at once, one idempotency token
    status_duplicate: bool = False  # every status callback twice
    status_shuffle: bool = False  # all kept back to the end and sent in a random order
    status_delay_ms: int = 0  # each this much later
    status_missing: bool = False  # none at all
    recording_delay_ms: int = 0  # the last recording callback this much after the end of the call
    completed_before_stop: bool = False  # `completed` is sent and answered before the stream stops
    no_stop: bool = False  # a hang-up closes the socket without a `stop`
    half_open_at_ms: int = 0  # from here the carrier neither reads nor writes, the socket stays open
    half_open_for_ms: int = 10_000  # after which the connection is aborted
    drop_at_ms: int = 0  # the connection is aborted here
    slow_reader_ms: int = 0  # pause before reading each message
    stall_at_ms: int = 0  # no frames from here ...
    stall_for_ms: int = 0  # ... for this long, then the late ones back to back
    frame_jitter_ms: int = 0  # each frame leaves up to this much late, order kept
    burst_every_ms: int = 0  # so often the frames of burst_ms are kept back and then sent at once
    burst_ms: int = 200
    echo_db: int = 0  # the caller's loudspeaker: what is heard comes back so much quieter (6 to 20) ...
    echo_delay_ms: int = 150  # ... and later, mixed into what the caller says
    timestamp_jitter_ms: int = 0  # media timestamps off by up to this much
    mark_delay_ms: int = 0  # mark echoes late by up to this much, order kept
    handshake_signature: str = "right"  # right, wrong, missing
    handshake_form: str = "plain"  # URL the handshake is signed over: plain, port (with :443), slash (toggled)
    replay_handshake: int = 0  # reconnect storm: the same handshake again, this many times, while the first is open

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}")


_CHOICES = {
    "webhook_signature": ("right", "wrong", "missing"),
    "handshake_signature": ("right", "wrong", "missing"),
    "handshake_form": ("plain", "port", "slash"),
}


def parse(options: Iterable[str]) -> Faults:
    """Faults from `name` and `name=value` words; raises ValueError that names the trouble."""
    fields = {item.name: item for item in dataclasses.fields(Faults)}
    chosen: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        name = name.replace("-", "_")
        if name not in fields:
            raise ValueError(f"unknown fault {name}; known: {', '.join(fields)}")
        default = fields[name].default
        if isinstance(default, bool):
            chosen[name] = value.lower() not in {"0", "false", "no"}
        else:
            chosen[name] = int(value) if isinstance(default, int) else value
    return Faults(**chosen)
