"""The names of the facts: of the services that write them, of the tasks that carry them, of their journal records."""

CREATE = "create_call_log"
TURN = "save_conversation_turn"
FINALIZE = "finalize_call_log"
STATUS = "apply_call_status"

ALL = frozenset({CREATE, TURN, FINALIZE, STATUS})
