"""A simulated speech model: OpenAI Realtime (GA) over a websocket, demanding like the real one."""

from simulators.model.dialogue import Dialogue, FunctionCall, Reply
from simulators.model.faults import FAULTS, Fault
from simulators.model.server import ModelServer
from simulators.model.settings import ModelSettings

__all__ = ["FAULTS", "Dialogue", "Fault", "FunctionCall", "ModelServer", "ModelSettings", "Reply"]
