"""Twilio's side of a phone call: webhooks, TwiML, media streams, status callbacks and a REST API.

Nothing of the product is imported here. The way in is `carrier.Carrier` from Python and `python -m simulators.carrier`
from a shell.
"""
