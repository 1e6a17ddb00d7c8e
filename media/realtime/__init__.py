"""Speech models behind one Protocol: one file for each, chosen by name in `MODELS`."""
