"""Scripted calls with real speech over the whole running system: `python -m tests.scenarios`, see __main__.py."""
