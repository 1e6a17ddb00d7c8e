"""The business of a first start."""

from django.test import TestCase

from businesses import demo
from businesses.models import Agent, AgentVersion, Business, PhoneNumber


class SeedTest(TestCase):
    def test_a_new_install_can_answer_a_call_to_the_demonstration_number(self) -> None:
        demo.seed()
        number = PhoneNumber.objects.get(number="+15550100100")
        number.full_clean()
        number.business.full_clean()
        version = number.agent.published_version()
        assert version is not None
        version.full_clean()
        self.assertEqual(version.snapshot().business_name, "Harbor Dental")
        self.assertEqual(
            version.greeting, "Thank you for calling Harbor Dental, this is Robin. How can I help you today?"
        )
        self.assertEqual(version.tools, ["end_call"])

    def test_seeding_again_adds_nothing_and_undoes_nothing(self) -> None:
        demo.seed()
        Business.objects.update(time_zone="Europe/Berlin")
        demo.seed()
        counts = [model._default_manager.count() for model in (Business, Agent, AgentVersion, PhoneNumber)]
        self.assertEqual(counts, [1, 1, 1, 1])
        self.assertEqual(Business.objects.get().time_zone, "Europe/Berlin")
