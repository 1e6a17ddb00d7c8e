"""Admin in a real browser: what a policy refuses, what does not fit, and what asks another host is found here.

Needs playwright (requirements/e2e.txt, `make test-browser`) and a Chromium of the system; nothing is downloaded.
"""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.utils import timezone

from analysis.models import AfterCallSettings, CallAnalysis, Lead, LeadField
from businesses import demo, sentences
from businesses.models import AgentVersion, Clip, DoNotCall, Holiday, HttpTool, OpeningHours, TransferTarget
from calls.models import CallLeg, CallLog, CallMessage, ConversationTurn, ToolUse
from outbound.models import OutboundCall
from simulators.speech import all_clips
from tests.browser.browsing import DESK, PHONE, BrowserTest

CANARY = "<script>document.title = 'canary'</script>"


def make_calls(version: AgentVersion) -> dict[str, CallLog]:
    """A call with an interruption, one of sixty turns, one incomplete and one going on."""
    calls = {}
    ends = {"talk": ("completed", 3, True), "long": ("completed", 60, True), "broken": ("failed", 9, False)}
    for number, name in enumerate(("talk", "long", "broken", "live")):
        status, expected, complete = ends.get(name, ("in-progress", None, False))
        started = timezone.now() - timedelta(minutes=number)
        calls[name] = CallLog.objects.create(
            call_sid=f"CA{number:032x}",
            business=version.agent.business,
            agent_version=version,
            from_number="sip:a-rather-long-name@pbx.some-company.example.com",
            to_number=demo.NUMBER,
            status=status,
            started_at=started,
            duration_seconds=None if name == "live" else 75,
            ended_reason="" if name == "live" else "caller_hung_up",
            expected_turns=expected,
            streams={} if expected is None else {"0": {"turns": expected}},
            is_complete=complete,
            cost=Decimal("12.345678") if name == "long" else Decimal("0.0421"),
            usage={"input_tokens": 123_456, "cached_tokens": 98_765, "output_tokens": 4321},
            counters={"echoes": 3, "underruns": 2, "underrun_ms": 480, f"error_{'x' * 50}": 1},
        )
        ConversationTurn.objects.bulk_create(
            ConversationTurn(
                call=calls[name],
                turn_index=index,
                user_text=f"{CANARY} {'x' * 90}" if index else "",
                bot_reply="We are at 12 Harbor Street. There is free parking behind the building.",
                heard_text="We are at 12",
                generated_ms=6400,
                heard_ms=2100 if index == 1 else 6400,
                reply_ms=800 + index if index else None,
                reply_heard_ms=1100 + index if index else None,
                interrupted=index == 1,
                started_at=started + timedelta(seconds=9 * index),
            )
            for index in range(60 if name == "long" else 3)
        )
    of_call = {"business": version.agent.business, "call": calls["talk"]}
    for number, state in enumerate(("finished", "started", "timed_out")):
        began = timezone.now()
        ToolUse.objects.create(
            **of_call,
            tool_call_id=f"call_{number}",
            name="look_up_a_free_appointment_in_the_calendar",
            arguments=f'{{"{"x" * 300}": "{CANARY}"}}',
            output=f"{CANARY} {'words ' * 400}" if state == "finished" else "",
            state=state,
            started_at=began,
            ended_at=began + timedelta(seconds=2) if state != "started" else None,
        )
        CallMessage.objects.create(
            **of_call,
            key=f"call_{number}",
            caller_name="Bartholomew Featherstonehaugh-Cholmondeley",
            callback_number="+1 (555) 010-0155" if number else "the same as always",
            text=f"{CANARY} {'x' * 90} Please call me back before five. {'And another thing. ' * 20}",
            taken_at=began,
            handled_at=began if number == 2 else None,
            handled_by=User.objects.get_or_create(username="a.rather.long.name@example.com")[0]
            if number == 2
            else None,
        )
    make_legs(calls["talk"])
    return calls


def make_legs(call: CallLog) -> None:
    """Somebody who was refused, somebody who did not answer, and somebody who did."""
    for number, (state, reason) in enumerate((("refused", "hourly_cap"), ("no-answer", ""), ("completed", ""))):
        CallLeg.objects.create(
            business=call.business,
            call=call,
            key=f"call_{number}",
            kind="cold",
            target_name=f"Front desk, {'x' * 40}",
            number="" if reason else "+12125550171",
            state=state,
            reason=reason,
            briefing=f"{CANARY} {'x' * 150} {'The caller has lost a filling. ' * 8}",
            asked_at=timezone.now(),
            duration_seconds=4000 if state == "completed" else None,
        )


def make_sentences(version: AgentVersion) -> None:
    """One rendered, one that failed; the others are to come."""
    texts = sentences.of_agent(version.greeting, version.language)
    greeting = all_clips()["greeting"].audio
    Clip.objects.create(
        agent_version=version, key="greeting", text=texts["greeting"], audio=greeting, rendered_at=timezone.now()
    )
    Clip.objects.create(agent_version=version, key="apology", text=texts["apology"], error="conversation_is_no_more")


def make_hours(version: AgentVersion) -> None:
    business = version.agent.business
    hours = {"weekday": 4, "opens": time(18), "closes": time(23, 59)}
    OpeningHours.objects.create(business=business, number=business.numbers.get(), **hours)
    Holiday.objects.create(business=business, date=date(2026, 12, 25), name="x" * 80)


def make_target(version: AgentVersion) -> TransferTarget:
    business = version.agent.business
    return TransferTarget.objects.create(
        business=business, name="x" * 60, description="Prices and orders. " * 10, number="+12125550171"
    )


def make_outbound_calls(version: AgentVersion) -> OutboundCall:
    """One refused and one that left a message, whose row is returned; and a number that is not called."""
    agent = version.agent
    DoNotCall.objects.create(business=agent.business, number="+12125550199", note="x" * 200)
    now = timezone.now()
    facts = {"business": agent.business, "agent": agent, "from_number": demo.NUMBER, "due_at": now, "asked_at": now}
    OutboundCall.objects.create(**facts, key="1", to_number="+881612345678", state="refused", reason="satellite")
    return OutboundCall.objects.create(
        **facts,
        key="2",
        to_number="+12125550123",
        state="completed",
        answered_by="machine_end_beep",
        message=CANARY + "x" * 90,
        message_left_at=now,
        submitted_at=now,
    )


def make_analyses(calls: dict[str, CallLog]) -> tuple[CallAnalysis, Lead, LeadField]:
    """One with everything, of the call that is talked about; one that has failed; and what is known of a caller."""
    talk, business = calls["talk"], calls["talk"].business
    AfterCallSettings.objects.create(business=business, is_on=True)
    field = LeadField.objects.create(business=business, name="insurance_company", label=f"Insurance {'x' * 60}")
    claims = [
        {"kind": "booking", "tool": "none", "quote": f"I have booked {CANARY} {'x' * 200}", "is_backed": False},
        {"kind": "message", "tool": "take_message", "quote": "I have noted your message.", "is_backed": True},
    ]
    values = {"insurance_company": f"{CANARY}{'x' * 400}", "a_field_that_is_no_more": True}
    analysis = CallAnalysis.objects.create(
        business=business,
        call=talk,
        state="done",
        summary=f"{CANARY} {'x' * 150} The caller asked for an appointment. {'And more. ' * 60}",
        outcome="not_a_caller",
        sentiment="negative",
        follow_ups=[f"{CANARY} {'x' * 200}", "Call back before five."],
        lead_values=values,
        claims=claims,
        has_unbacked_claim=True,
        model="gpt-6-luna",
        cost=Decimal("0.0012"),
        analysed_at=timezone.now(),
    )
    CallAnalysis.objects.create(business=business, call=calls["long"], state="failed", error="no_such_model", tries=1)
    lead = Lead.objects.create(
        business=business,
        number="+12125550123",
        values={name: {"value": value, "at": "", "call": talk.pk} for name, value in values.items()},
        last_call=talk,
        last_call_at=talk.started_at,
    )
    return analysis, lead, field


def make_tool(version: AgentVersion) -> HttpTool:
    return HttpTool.objects.create(
        business=version.agent.business,
        name="find_the_state_of_an_order_by_its_number",
        description="Look up the state of an order. " * 10,
        url=f"https://{'a-rather-long-name.' * 5}example.com/orders?{'x' * 300}",
    )


class AdminInABrowserTest(BrowserTest):
    def setUp(self) -> None:
        super().setUp()
        business = demo.seed()
        agent = business.agents.get()
        version = agent.published_version()
        assert version is not None
        self.calls = make_calls(version)
        make_sentences(version)
        make_hours(version)
        tool = make_tool(version)
        outbound = make_outbound_calls(version)
        target = make_target(version)
        analysis, lead, field = make_analyses(self.calls)
        self.pages = {
            "index": "/admin/",
            "calls": "/admin/calls/calllog/",
            **{name: f"/admin/calls/calllog/{call.pk}/change/" for name, call in self.calls.items()},
            "messages": "/admin/calls/callmessage/",
            "message": f"/admin/calls/callmessage/{self.calls['talk'].messages.all()[0].pk}/change/",
            "agents": "/admin/businesses/agent/",
            "agent": f"/admin/businesses/agent/{agent.pk}/change/",
            "version": f"/admin/businesses/agentversion/{version.pk}/change/",
            "number": "/admin/businesses/phonenumber/add/",
            "tools": "/admin/businesses/httptool/",
            "tool": f"/admin/businesses/httptool/{tool.pk}/change/",
            "new tool": "/admin/businesses/httptool/add/",
            "business": f"/admin/businesses/business/{business.pk}/change/",
            "do not call": "/admin/businesses/donotcall/",
            "import": "/admin/businesses/donotcall/import/",
            "targets": "/admin/businesses/transfertarget/",
            "target": f"/admin/businesses/transfertarget/{target.pk}/change/",
            "outbound calls": "/admin/outbound/outboundcall/",
            "outbound call": f"/admin/outbound/outboundcall/{outbound.pk}/change/",
            "new call": "/admin/outbound/outboundcall/add/",
            "analyses": "/admin/analysis/callanalysis/",
            "analysis": f"/admin/analysis/callanalysis/{analysis.pk}/change/",
            "leads": "/admin/analysis/lead/",
            "lead": f"/admin/analysis/lead/{lead.pk}/change/",
            "lead fields": "/admin/analysis/leadfield/",
            "lead field": f"/admin/analysis/leadfield/{field.pk}/change/",
            "analysis of calls": "/admin/analysis/aftercallsettings/add/",
            "jobs": "/admin/console/jobs/",
            "task results": "/admin/django_celery_results/taskresult/",
        }

    def test_pages_fit_a_desk_and_a_phone_and_nothing_is_refused_or_fetched_from_elsewhere(self) -> None:
        with self.browser() as browser:
            for size in (DESK, PHONE):
                page = self.logged_in(browser, size)
                for name in self.pages:
                    with self.subTest(page=name, width=size[0]):
                        self.open(page, name)
                        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), size[0])
                        self.assertIn("The speech model is simulated.", page.inner_text("body"))
                        self.assertNotIn("canary", page.title())
                        self.assertEqual(self.complaints, [])
                for name in ("calls", "messages", "analyses", "leads"):
                    self.open(page, name)
                    inner, outer = page.eval_on_selector(".results", "box => [box.scrollWidth, box.clientWidth]")
                    self.assertLessEqual(inner, outer, f"the list of {name} does not fit its box at {size[0]} px")
                for name in ("message", "analysis", "lead"):
                    self.open(page, name)
                    widths = (
                        "all => all.map(e => [e.scrollWidth, e.clientWidth]).filter(([inner, outer]) => inner > outer)"
                    )
                    self.assertEqual(page.eval_on_selector_all(".form-row", widths), [], f"{name} at {size[0]} px")
        self.assertEqual(self.hosts, {self.live_server_url.removeprefix("http://")})

    def test_an_operator_finds_a_call_by_number_and_reads_what_was_cut_off(self) -> None:
        with self.browser() as browser:
            page = self.logged_in(browser, DESK)
            self.open(page, "calls")
            page.fill("#searchbar", self.calls["talk"].call_sid)
            page.press("#searchbar", "Enter")
            page.click("#result_list .field-started a")
            page.wait_for_selector(".conversation")
            self.assertEqual(page.inner_text(".turn del"), "Harbor Street. There is free parking behind the building.")
            self.assertIn("line-through", page.eval_on_selector(".turn del", "e => getComputedStyle(e).textDecoration"))
            page.go_back()
            page.click("summary:has-text('Status')")
            page.click(".filter[open] a:has-text('Failed')")
            page.wait_for_selector("summary:has-text('Failed')")
            self.assertEqual(page.locator("#result_list tbody tr").count(), 0)  # the search still holds

    def test_a_message_is_found_read_and_marked_as_handled(self) -> None:
        with self.browser() as browser:
            page = self.logged_in(browser, PHONE)
            self.open(page, "messages")
            page.click("summary:has-text('handled')")
            page.click(".filter[open] a:has-text('Open')")
            page.wait_for_selector("summary:has-text('Open')")
            self.assertEqual(page.locator("#result_list tbody tr").count(), 2)
            page.check("#result_list tbody tr:first-child .action-select")
            page.select_option("select[name=action]", "mark_as_handled")
            page.click("button[name=index]")
            page.wait_for_selector(".messagelist .success")
            self.assertEqual(page.locator("#result_list tbody tr").count(), 1)
        self.assertEqual(self.complaints, [])

    def test_an_agent_is_edited_and_published_with_the_mouse(self) -> None:
        with self.browser() as browser:
            page = self.logged_in(browser, DESK)
            self.open(page, "agent")
            page.fill("#id_versions-0-greeting", "Good morning, Harbor Dental.")
            page.click("[name=_publish]")
            page.wait_for_selector(".messagelist .success")
            self.assertIn("Version 2 is published", page.inner_text(".messagelist"))
            page.click("text=Version 1")
            page.click("text=New draft from this version")
            page.wait_for_selector(".draft")
            self.assertIn("Draft of version 3", page.inner_text(".draft"))
            self.assertEqual(page.input_value("#id_versions-0-greeting"), demo.GREETING)
        self.assertEqual(self.complaints, [])

    def test_a_sentence_is_played(self) -> None:
        play = """async () => {
            const sound = document.querySelector(".sentences audio");
            sound.muted = true;
            await sound.play();
            return [sound.duration, sound.seekable.end(0)];
        }"""
        with self.browser() as browser:
            page = self.logged_in(browser, DESK)
            self.open(page, "version")
            seconds = len(all_clips()["greeting"].audio) / 8000
            self.assertEqual(page.evaluate(play), [seconds, seconds])
        self.assertEqual(self.complaints, [])
