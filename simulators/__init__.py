"""The other ends of a call: the carrier, the speech model, and the speech of both. Imports nothing of ours."""
