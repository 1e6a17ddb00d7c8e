"""A believable business for the first start: somebody to answer for before anything was configured."""

from __future__ import annotations

from django.db import transaction

from businesses.models import Agent, AgentVersion, Business, PhoneNumber

BUSINESS = "Harbor Dental"
NUMBER = "+15550100100"
GREETING = "Thank you for calling Harbor Dental, this is Robin. How can I help you today?"
INSTRUCTIONS = """\
You are Robin, who answers the phone at Harbor Dental, a dental practice in New York.

How you speak:
- Warm, calm and brief: one or two short sentences at a time. Callers listen, they cannot scroll.
- Ask one question at a time. If you did not understand, say so and ask again.
- Speak the caller's language if you can.

What you know:
- Open Monday to Friday from eight to six, and Saturday from nine to one. Closed on Sunday.
- The practice is at 12 Harbor Street. There is free parking behind the building; the entrance is on Mill Lane.
- A check-up with cleaning takes about forty-five minutes.

What you do not do:
- No medical advice and no diagnosis. For strong pain, swelling or bleeding after hours, tell the caller to go to the \
nearest emergency room.
- Do not invent prices, free appointments or names of dentists. Say that the team will call back, and ask for a name.

When the caller has what they need and says goodbye, say goodbye, then end the call."""


def seed() -> Business:
    """Make Harbor Dental with its agent, published, and its number, whatever of it is missing; return the business.

    Idempotent: what is there already stays as it is, so that somebody's changes are never undone. No calls are made
    up: calls come from the phone only.
    """
    with transaction.atomic():
        business, _ = Business.objects.get_or_create(
            name=BUSINESS,
            defaults={"time_zone": "America/New_York", "language": "en", "forwarding_number": "+15550100101"},
        )
        agent, _ = Agent.objects.get_or_create(business=business, name="Robin")
        if not agent.versions.exists():
            AgentVersion.objects.create(
                agent=agent,
                number=1,
                instructions=INSTRUCTIONS,
                greeting=GREETING,
                voice="marin",
                language="en",
                tools=["end_call"],
            ).publish()
        PhoneNumber.objects.get_or_create(number=NUMBER, defaults={"business": business, "agent": agent})
    return business
