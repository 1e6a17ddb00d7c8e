"""Measures the running product from outside: it imports nothing of it, and talks to it as Twilio and OpenAI do."""
