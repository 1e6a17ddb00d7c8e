"""How loud a recording is over its time, on each channel: enough to draw it. Pure."""

from __future__ import annotations

import sys
import wave
from array import array
from dataclasses import dataclass
from typing import IO

COLUMNS = 600
LOUDEST = 255


class NotAudio(Exception):
    """The file is no WAV file."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """`peaks`: by channel, COLUMNS numbers from 0 to LOUDEST; empty when the file cannot be measured."""

    seconds: float
    channels: int
    peaks: list[list[int]]


def read(file: IO[bytes]) -> Waveform:
    """Measure a WAV file of 16-bit samples, from its beginning. Raise NotAudio."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise NotAudio
    file.seek(0)
    try:
        with wave.open(file, "rb") as audio:
            return _measure(audio)
    except (wave.Error, EOFError):  # another kind of samples: it can be played all the same
        return Waveform(0.0, 0, [])


def _measure(audio: wave.Wave_read) -> Waveform:
    frames, channels = audio.getnframes(), audio.getnchannels()
    seconds = frames / audio.getframerate()
    if audio.getsampwidth() != 2 or not frames:
        return Waveform(seconds, channels, [])
    peaks: list[list[int]] = [[] for _ in range(channels)]
    for column in range(COLUMNS):
        count = (column + 1) * frames // COLUMNS - column * frames // COLUMNS
        samples = array("h", audio.readframes(count))
        if sys.byteorder == "big":
            samples.byteswap()
        for channel, of_channel in enumerate(peaks):
            lane = samples[channel::channels]
            loudest = max(max(lane), -min(lane)) if lane else 0
            of_channel.append(min(LOUDEST, loudest * LOUDEST // 32767))
    return Waveform(seconds, channels, peaks)
