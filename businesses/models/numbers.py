"""Numbers that callers dial, and the hours in which they are answered."""

from __future__ import annotations

from datetime import datetime, time

from django.core.exceptions import ValidationError
from django.db import models

from businesses import hours
from businesses.models.agents import Agent
from businesses.models.business import Business, WhenClosed
from businesses.validation import (
    E164,
)


class PhoneNumber(models.Model):
    """A number callers dial: it decides for which business and by which agent they are answered."""

    number = models.CharField(max_length=16, unique=True, validators=[E164])
    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="numbers")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="numbers")
    when_closed = models.CharField(
        "outside the opening hours",
        max_length=10,
        choices=WhenClosed.choices,
        blank=True,
        default="",
        db_default="",
        help_text="Empty: as the business.",
    )
    closed_agent = models.ForeignKey(
        Agent,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="agent when closed",
        help_text="Empty: as the business.",
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return self.number

    def clean(self) -> None:
        if self.agent_id and self.business_id and self.agent.business_id != self.business_id:
            raise ValidationError({"agent": "This agent belongs to another business."})
        if self.closed_agent is not None and self.business_id and self.closed_agent.business_id != self.business_id:
            raise ValidationError({"closed_agent": "This agent belongs to another business."})

    def is_open(self, moment: datetime) -> bool:
        """Whether it is within the opening hours at `moment` (aware)."""
        zone = self.business.zone
        hours_of = self.business.opening_hours.order_by().values_list("weekday", "opens", "closes", "number_id")
        days = self.business.holidays.filter(date=moment.astimezone(zone).date()).order_by()
        return hours.is_open(
            moment,
            zone,
            self.pk,
            [hours.Span(*row) for row in hours_of],
            [hours.SpecialDay(*row) for row in days.values_list("date", "opens", "closes", "number_id")],
        )

    def agent_when_closed(self) -> Agent | None:
        """Who answers outside the opening hours; None: whoever answers in them."""
        agent = self.closed_agent or self.business.closed_agent
        return agent if agent is not None and agent.business_id == self.business_id else None


class Weekday(models.IntegerChoices):
    """As datetime.date.weekday() counts them."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


class OpeningHours(models.Model):
    """One span of a weekday in the business's time zone. Of the whole business, or of one number that has its own."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="opening_hours")
    number = models.ForeignKey(
        PhoneNumber,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="opening_hours",
        help_text="Empty: every number without opening hours of its own.",
    )
    weekday = models.PositiveSmallIntegerField(choices=Weekday.choices)
    opens = models.TimeField()
    closes = models.TimeField(help_text="On the same day. 23:59 is until midnight.")

    class Meta:
        ordering = ["business", "number", "weekday", "opens"]
        verbose_name_plural = "opening hours"
        constraints = [
            models.CheckConstraint(condition=models.Q(closes__gt=models.F("opens")), name="opens_before_it_closes")
        ]

    def __str__(self) -> str:
        return f"{self.get_weekday_display()} {self.opens:%H:%M}-{self.closes:%H:%M}"

    def clean(self) -> None:
        _refuse_reversed(self.opens, self.closes)
        _refuse_foreign(self.number, self.business_id)


class Holiday(models.Model):
    """One day that is not as its weekday: closed, or open for other hours."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="holidays")
    number = models.ForeignKey(
        PhoneNumber,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="holidays",
        help_text="Empty: every number.",
    )
    date = models.DateField()
    name = models.CharField(max_length=80, blank=True)
    opens = models.TimeField(null=True, blank=True, help_text="Empty: closed all day.")
    closes = models.TimeField(null=True, blank=True)

    class Meta:
        ordering = ["business", "date"]

    def __str__(self) -> str:
        return f"{self.date} {self.name}".strip()

    def clean(self) -> None:
        if (self.opens is None) != (self.closes is None):
            raise ValidationError("Enter both times, or none for a day that is closed.")
        _refuse_reversed(self.opens, self.closes)
        _refuse_foreign(self.number, self.business_id)


def _refuse_reversed(opens: time | None, closes: time | None) -> None:
    if opens is not None and closes is not None and closes <= opens:
        raise ValidationError(
            "It has to close after it opens. Hours past midnight are two rows: until 23:59, and from 00:00 on the "
            "next day."
        )


def _refuse_foreign(number: PhoneNumber | None, business_id: int | None) -> None:
    if number is not None and business_id and number.business_id != business_id:
        raise ValidationError({"number": "This number belongs to another business."})
