"""The other ends of a call, simulated: the carrier, the speech model, and the speech both use. Imports nothing of ours."""
