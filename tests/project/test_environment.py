"""`.env.example` is the list of settings that people read: it must be the list that the program reads."""

import re
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

READERS = ("voiceagent/settings.py", "voiceagent/embedded.py", "voiceagent/running.py")
READ = re.compile(r"""(?:\benv\.\w+\(|os\.environ\.get\()\s*["']([A-Z][A-Z0-9_]*)["']""")
DOCUMENTED = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def text(path: str) -> str:
    return (Path(settings.BASE_DIR) / path).read_text(encoding="utf-8")


class EnvironmentTests(SimpleTestCase):
    def test_every_variable_that_is_read_is_explained_and_every_explained_one_is_read(self) -> None:
        read = {name for path in READERS for name in READ.findall(text(path))}
        documented = DOCUMENTED.findall(text(".env.example"))
        self.assertEqual(sorted(read), sorted(documented))

    def test_the_example_says_the_models_that_are_the_defaults(self) -> None:
        for name in ("OPENAI_REALTIME_MODEL", "OPENAI_TRANSCRIPTION_MODEL"):
            default = re.search(rf'"{name}", default="([^"]+)"', text("voiceagent/settings.py"))
            assert default is not None
            self.assertIn(f"#{name}={default[1]}\n", text(".env.example"))
            self.assertIn(f"${{{name}:-{default[1]}}}", text("docker/compose.yml"))

    def test_nothing_but_settings_reads_the_environment_elsewhere(self) -> None:
        allowed = {*READERS, "voiceagent/supervisor.py"}  # which hands it on to its children
        for app in ("voiceagent", "businesses", "calls", "media"):
            for path in (Path(settings.BASE_DIR) / app).rglob("*.py"):
                name = str(path.relative_to(settings.BASE_DIR))
                if name not in allowed:
                    with self.subTest(file=name):
                        self.assertNotRegex(path.read_text(encoding="utf-8"), r"os\.environ(?!\.setdefault)|os\.getenv")


class RequirementTests(SimpleTestCase):
    def test_every_wanted_package_is_in_the_lock_file_with_hashes(self) -> None:
        for name in ("bootstrap", "base", "dev", "e2e", "prod"):
            wanted = re.findall(r"^([A-Za-z][\w.-]*)", text(f"requirements/{name}.in"), re.MULTILINE)
            pinned = dict(re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", text(f"requirements/{name}.txt"), re.MULTILINE))
            for package in wanted:
                with self.subTest(list=name, package=package):
                    self.assertIn(package.lower().replace("_", "-"), pinned)
            for block in re.split(r"\n(?=[a-z0-9])", text(f"requirements/{name}.txt"))[1:]:
                self.assertIn("--hash=sha256:", block)

    def test_the_lists_agree_on_versions(self) -> None:
        # A universal list may pin a package twice, for different Pythons: compare what all its lines say.
        seen: dict[str, set[str]] = {}
        for name in ("base", "dev", "e2e", "prod"):
            pins: dict[str, set[str]] = {}
            lock = text(f"requirements/{name}.txt")
            for package, version in re.findall(r"^([a-z0-9][\w.-]*)==(.*?) \\$", lock, re.MULTILINE):
                pins.setdefault(package, set()).add(version)
            for package, versions in pins.items():
                self.assertEqual(seen.setdefault(package, versions), versions, package)
        self.assertIn("django", seen)

    def test_no_lock_file_names_a_place_on_the_machine_that_wrote_it(self) -> None:
        for path in (Path(settings.BASE_DIR) / "requirements").glob("*.txt"):
            self.assertNotRegex(path.read_text(encoding="utf-8"), r"file://|https?://|/home/|/root/|/tmp/")
