"""The names of what an agent may do in a call. What each one does is in media.tools, which an agent's form cannot see:
imports go one way. A test holds the two lists equal."""

TOOLS = {
    "end_call": "Hang up when the caller is done",
    "take_message": "Take a message for somebody of the business",
    "collect_digits": "Have the caller type a card number or the like, unheard and unrecorded",
    "transfer_call": "Put the caller through to a colleague (one of the transfer targets of the business)",
    "do_not_call": "Put the caller onto the do-not-call list (on outbound calls the agent always may)",
}
TOOL_NAMES = tuple(TOOLS)
