"""The names of the facts: of the services that write them, of the tasks that carry them, of their journal records."""

CREATE = "create_call_log"
TURN = "save_conversation_turn"
TOOL_USE = "save_tool_use"
MESSAGE = "save_message"
LEG = "save_leg"
FINALIZE = "finalize_call_log"
STATUS = "apply_call_status"
RECORDING = "save_recording"

ALL = frozenset({CREATE, TURN, TOOL_USE, MESSAGE, LEG, FINALIZE, STATUS, RECORDING})
# The end of a call says these again: where there is too little room, it is kept for the others.
REPEATED = frozenset({TURN, TOOL_USE})
