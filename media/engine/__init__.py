"""The phone call as a pure state machine: events and the time go in, commands and the next deadline come out."""
