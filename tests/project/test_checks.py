"""Configuration that cannot work is refused at start, with a way to mend it."""

from collections.abc import Iterable

from django.core.checks import CheckMessage
from django.test import SimpleTestCase, override_settings

from calls.tasks import FactTask
from voiceagent import checks

ACCOUNT = "AC" + "0123456789abcdef" * 2


def ids(messages: Iterable[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("voiceagent.") for message in messages]


class CheckTests(SimpleTestCase):
    def test_the_public_address_is_an_https_origin(self) -> None:
        for url, expected in {
            "https://voice.example.com": [],
            "https://voice.example.com:8443": [],
            "http://voice.example.com": ["E001"],
            "voice.example.com": ["E001"],
            "": ["E001"],
            "https://": ["E001"],
            "https://voice.example.com/app": ["E002"],
            "https://voice.example.com?x=1": ["E002"],
            "https://me@voice.example.com": ["E002"],
        }.items():
            with self.subTest(url=url):
                self.assertEqual(ids(checks.check_public_url(url)), expected)

    def test_the_hint_is_the_address_that_was_probably_meant(self) -> None:
        [error] = checks.check_public_url("https://voice.example.com:8443/app")
        self.assertEqual(error.hint, "Set PUBLIC_URL=https://voice.example.com:8443")

    def test_twilio_is_configured_wholly_or_not_at_all(self) -> None:
        self.assertEqual(ids(checks.check_twilio("", [])), [])
        self.assertEqual(ids(checks.check_twilio(ACCOUNT, ["token"])), [])
        self.assertEqual(ids(checks.check_twilio(ACCOUNT, [])), ["E003"])
        self.assertEqual(ids(checks.check_twilio("", ["token"])), ["E003"])
        self.assertEqual(ids(checks.check_twilio("SK" + ACCOUNT[2:], ["token"])), ["E004"])

    def test_models_that_end_are_named_with_their_successors(self) -> None:
        for name, expected in {
            "gpt-realtime-2.1": [],
            "gpt-realtime-2.1-mini": [],
            "gpt-transcribe": [],
            "gpt-realtime": ["W001"],
            "gpt-realtime-2025-08-28": ["W001"],
            "gpt-4o-realtime-preview": ["W001"],
            "gpt-4o-realtime-preview-2024-12-17": ["W001"],
            "whisper-1": ["W001"],
        }.items():
            with self.subTest(model=name):
                self.assertEqual(ids(checks.check_models({"OPENAI_REALTIME_MODEL": name})), expected)

    def test_a_public_server_needs_a_real_secret_and_no_error_pages(self) -> None:
        self.assertEqual(ids(checks.check_secret_key("x" * 64, is_public=True)), ["E005"])
        self.assertEqual(ids(checks.check_secret_key("0123456789", is_public=True)), ["E005"])
        self.assertEqual(ids(checks.check_secret_key("0123456789abcdef" * 4, is_public=True)), [])
        self.assertEqual(ids(checks.check_secret_key("x", is_public=False)), [])
        self.assertEqual(ids(checks.check_debug(True, is_public=True)), ["E006"])
        self.assertEqual(ids(checks.check_debug(True, is_public=False)), [])

    def test_a_token_for_metrics_that_could_be_guessed_is_refused(self) -> None:
        for token, expected in (("", []), ("secret", ["E016"]), ("x" * 64, ["E016"]), ("0123456789abcdef" * 2, [])):
            with self.subTest(token):
                self.assertEqual(ids(checks.check_metrics_token(token)), expected)

    def test_recordings_have_somewhere_to_be_kept(self) -> None:
        local = "django.core.files.storage.FileSystemStorage"
        for name, options, fits in (
            (local, "{}", True),
            (local, '{"location": "/srv/recordings"}', True),
            (local, '{"location": ', False),
            (local, "[]", False),
            (local, '{"bucket": "recordings"}', False),
            ("no.such.Storage", "{}", False),
        ):
            with self.subTest(name=name, options=options):
                self.assertEqual(ids(checks.check_file_storage(name, options)), [] if fits else ["E018"])

    def test_every_entry_of_the_hosts_of_tools_allows_some_host(self) -> None:
        for entry, expected in {
            "api.example.com": [],
            ".example.com": [],
            "93.184.216.34": [],
            "https://api.example.com": ["E013"],
            "api.example.com:8443": ["E013"],
            "*.example.com": ["E013"],
            "localhost": ["E013"],
            "10.0.0.1": ["E013"],
            "127.0.0.1": ["E013"],
            "[::1]": ["E013"],
        }.items():
            with self.subTest(entry=entry):
                found = checks.check_tool_hosts([entry], allow_local=False, is_public=True)
                self.assertEqual(ids(found), expected)

    def test_tools_may_only_ask_this_machine_where_nobody_else_is_served(self) -> None:
        for is_public, expected in {True: ["W005"], False: []}.items():
            found = checks.check_tool_hosts(["127.0.0.1"], allow_local=True, is_public=is_public)
            self.assertEqual(ids(found), expected)
        found = checks.check_tool_hosts(["10.0.0.1"], allow_local=True, is_public=False)
        self.assertEqual(ids(found), ["E013"])

    def test_a_job_is_not_given_out_again_while_it_may_still_run(self) -> None:
        self.assertEqual(checks.LONGEST_RETRY_SECONDS, FactTask.retry_backoff_max)
        for timeout, expected in {45: ["E007"], 46: []}.items():
            self.assertEqual(ids(checks.check_redelivery(timeout, 45)), expected)

    def test_celery_and_kombu_stay_below_the_release_whose_workers_end_with_redis(self) -> None:
        for version, expected in {"5.6.3": [], "5.7.0": ["E008"], "5.7.0rc1": ["E008"], "6.0": ["E008"]}.items():
            with self.subTest(version):
                self.assertEqual(ids(checks.check_celery({"celery": version})), expected)

    def test_every_problem_says_how_to_mend_it(self) -> None:
        with override_settings(
            PUBLIC_URL="http://x", TWILIO_ACCOUNT_SID="x", TWILIO_AUTH_TOKENS=[], OPENAI_REALTIME_MODEL="whisper-1",
            SECRET_KEY="x", IS_PUBLIC=True, DEBUG=True, CELERY_BROKER_TRANSPORT_OPTIONS={"visibility_timeout": 1},
        ):  # fmt: skip
            found = checks.check_settings()
        self.assertEqual(ids(found), ["E001", "E003", "E004", "W001", "E005", "E006", "E007"])
        for message in found:
            self.assertTrue(message.hint)

    def test_the_defaults_have_no_problem(self) -> None:
        self.assertEqual(checks.check_settings(), [])
