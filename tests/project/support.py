"""What several tests of the project need."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest import TestCase

import redis

from voiceagent import embedded
from voiceagent.valkey import PrivateValkey


@dataclass(frozen=True)
class OwnValkey:
    """A server that one test may stop, hang or misconfigure."""

    var: Path
    url: str
    pid: int


def own_valkey(test: TestCase) -> OwnValkey:
    var = Path(tempfile.mkdtemp(prefix="voiceagent-var-"))
    test.addCleanup(shutil.rmtree, var)
    server = PrivateValkey(var, dies_with_me=True).acquire()
    test.addCleanup(server.release)
    with redis.Redis.from_url(embedded.redis_url(var)) as client:
        info = cast(dict[str, Any], client.info("server"))
    return OwnValkey(var, embedded.redis_url(var), int(info["process_id"]))
