"""Secrets at rest: by which keys they are encrypted, and how keys are replaced."""

from __future__ import annotations

import io
from typing import Any

from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TestCase, override_settings

from businesses import encryption, stored_secrets
from businesses.encryption import Undecryptable
from businesses.models import AgentVersion
from tests.businesses.worlds import World, make_world
from voiceagent import checks, doctor

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SECRET = "canary-secret-7781"


class KeysTest(SimpleTestCase):
    def test_nothing_has_to_be_set_up(self) -> None:
        token = encryption.encrypt(SECRET)
        self.assertNotIn(SECRET, token)
        self.assertNotEqual(token, encryption.encrypt(SECRET))
        self.assertEqual(encryption.decrypt(token), SECRET)
        self.assertEqual((encryption.encrypt(""), encryption.decrypt("")), ("", ""))

    def test_the_newest_key_encrypts_and_each_decrypts(self) -> None:
        with override_settings(SECRETS_KEYS=[OLD]):
            token = encryption.encrypt(SECRET)
        with override_settings(SECRETS_KEYS=[NEW, OLD]):
            self.assertEqual(encryption.decrypt(token), SECRET)
            rotated = encryption.encrypt_again(token)
        self.assertEqual(Fernet(NEW).decrypt(rotated).decode(), SECRET)

    def test_what_was_encrypted_before_there_were_keys_is_still_read(self) -> None:
        token = encryption.encrypt(SECRET)
        with override_settings(SECRETS_KEYS=[NEW]):
            self.assertEqual(encryption.decrypt(token), SECRET)

    def test_a_replaced_secret_key_is_read_as_long_as_it_is_a_fallback(self) -> None:
        with override_settings(SECRET_KEY="a" * 50):
            token = encryption.encrypt(SECRET)
        with override_settings(SECRET_KEY="b" * 50, SECRET_KEY_FALLBACKS=["a" * 50]):
            self.assertEqual(encryption.decrypt(token), SECRET)
        with override_settings(SECRET_KEY="b" * 50), self.assertRaises(Undecryptable) as raised:
            encryption.decrypt(token)
        self.assertEqual(str(raised.exception), "")
        self.assertIsNone(raised.exception.__cause__)

    def test_what_was_changed_is_not_decrypted(self) -> None:
        token = encryption.encrypt(SECRET)
        for wrong in (token[:-4], "x", token.swapcase(), "ü"):
            with self.subTest(wrong=wrong), self.assertRaises(Undecryptable):
                encryption.decrypt(wrong)
            with self.subTest(wrong=wrong), self.assertRaises(Undecryptable):
                encryption.encrypt_again(wrong)

    def test_of_a_secret_four_characters_are_shown_and_of_a_short_one_none(self) -> None:
        self.assertEqual(encryption.ending(SECRET), "7781")
        self.assertEqual(encryption.ending("12345678901"), "")

    def test_a_key_that_is_none_is_refused_at_start_by_its_place(self) -> None:
        messages = list(checks.check_secrets_keys([NEW, "canary", OLD, ""]))
        self.assertEqual([message.id for message in messages], ["voiceagent.E012"] * 2)
        self.assertIn("number 2 ", messages[0].msg)
        self.assertNotIn("canary", str(messages))
        self.assertEqual(list(checks.check_secrets_keys([NEW, OLD])), [])


class RotationTest(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        with override_settings(SECRETS_KEYS=[OLD]):
            cls.world = make_world("Harbor", 1)
            cls.world.draft.tools = [cls.world.tool.name]
            cls.world.draft.publish()
            cls.world.tool.set_secret(SECRET)
            cls.world.tool.save()

    def tokens(self) -> list[str]:
        self.world.tool.refresh_from_db()
        [frozen] = self.version().frozen_http_tools or []
        return [self.world.tool.encrypted_secret, frozen["encrypted_secret"]]

    def version(self) -> AgentVersion:
        return AgentVersion.objects.get(pk=self.world.draft.pk)

    def row(self) -> dict[str, Any]:
        return dict(AgentVersion.objects.filter(pk=self.world.draft.pk).values().get())

    def rotate(self) -> str:
        said = io.StringIO()
        call_command("rotate_secrets", stdout=said)
        return said.getvalue()

    @override_settings(SECRETS_KEYS=[NEW, OLD])
    def test_everything_is_encrypted_again_also_what_is_published(self) -> None:
        before = self.row()
        self.assertEqual(self.rotate(), "Under the newest key: 2.\n")
        secrets = [Fernet(NEW).decrypt(token).decode() for token in self.tokens()]
        self.assertEqual(secrets, [SECRET, "Harbor-secret-0001"])
        after = self.row()
        for version in (before, after):
            for tool in version["frozen_http_tools"]:
                del tool["encrypted_secret"]
        self.assertEqual(after, before)
        with override_settings(SECRETS_KEYS=[NEW]):
            self.assertEqual(self.version().snapshot().http_tools[0].secret, "Harbor-secret-0001")

    @override_settings(SECRETS_KEYS=[NEW])
    def test_what_cannot_be_decrypted_is_left_alone_and_named_by_its_id(self) -> None:
        before = self.tokens()
        with self.assertRaisesMessage(CommandError, f"HTTP tool {self.world.tool.pk}, agent version") as raised:
            self.rotate()
        self.assertNotIn("Harbor", str(raised.exception))
        self.assertEqual(self.tokens(), before)

    @override_settings(SECRETS_KEYS=[NEW])
    def test_a_call_does_without_a_tool_whose_secret_is_lost_and_the_log_names_ids(self) -> None:
        with self.assertLogs("businesses.models", "ERROR") as logs:
            self.assertEqual(self.version().snapshot().http_tools, ())
        [record] = logs.records
        facts = vars(record)
        self.assertEqual((facts["agent_version_id"], facts["http_tool_id"]), (self.world.draft.pk, self.world.tool.pk))
        self.assertNotIn("Harbor", str(facts))
        self.assertNotIn("find_", str(facts))

    def test_the_start_and_the_doctor_say_which_secrets_are_lost(self) -> None:
        places = [f"HTTP tool {self.world.tool.pk}", f"agent version {self.world.draft.pk}"]
        with override_settings(SECRETS_KEYS=[NEW]):
            self.assertEqual(list(stored_secrets.unreadable()), places)
            [message] = checks.check_secrets(stored_secrets.unreadable())
            [finding] = doctor.secrets()
        self.assertEqual(message.id, "voiceagent.W004")
        self.assertIn(places[0], message.msg)
        self.assertTrue(finding.wrong)
        self.assertIn("rotate_secrets", finding.mend)
        with override_settings(SECRETS_KEYS=[OLD]):
            self.assertEqual(list(checks.check_secrets(stored_secrets.unreadable())), [])
            self.assertFalse(next(doctor.secrets()).wrong)
