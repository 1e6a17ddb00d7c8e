"""A caller on hold while broker and worker are gone, and the colleague's end of it is at another web process, which
nothing but the database joins to the caller's."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from businesses.sentences import sentence
from calls.models import CallLeg
from simulators.carrier.account import Account, CallResource
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api, RestServer
from simulators.carrier.settings import Colleague
from tests.e2e import system as running
from tests.e2e.cases import CALLER, SystemTestCase
from tests.e2e.processes import wait_until
from tests.e2e.test_transfer import COLLEAGUES, DECLINED, DIALOGUE, FASTER, GOES_ON, make_businesses


class OnHoldWithoutBrokerAndWorker(SystemTestCase):
    api: ClassVar[Api]
    caller: ClassVar[CallLedger]
    colleague: ClassVar[CallLedger]

    @classmethod
    def setUpClass(cls) -> None:
        cls.api = Api(Account(running.ACCOUNT_SID), running.AUTH_TOKEN)
        rest = cls.enterClassContext(RestServer(cls.api))
        cls.environment = {"TWILIO_API_URL": f"http://127.0.0.1:{rest.port}"}
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        dialogue.write_text(json.dumps(DIALOGUE))
        cls.model_options = ("--dialogue", str(dialogue))
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_businesses)
        other = await asyncio.to_thread(running.Web, cls.system)
        cls.addClassCleanup(other.child.stop)
        await asyncio.to_thread(wait_until, other.is_ready, 120, "the other web process is ready")
        ended: asyncio.Queue[CallLedger] = asyncio.Queue()
        people = {COLLEAGUES[DECLINED][0]: Colleague(keys="2", rings=5)}
        at_the_other: dict[str, Any] = {"connect_to": ("127.0.0.1", other.port), "colleagues": people}
        with (
            Carrier(cls.carrier(time_scale=FASTER).settings, account=cls.api.account) as callers,
            Carrier(cls.carrier(time_scale=FASTER, **at_the_other).settings, account=cls.api.account) as colleagues,
        ):
            dial = colleagues.dial_colleagues(ended.put_nowait)

            def while_all_is_down(resource: CallResource, fields: dict[str, str]) -> None:
                cls.system.worker.kill()
                if cls.system.broker is not None:
                    cls.system.broker.kill()
                dial(resource, fields)

            cls.api.dial = while_all_is_down
            cls.caller = await callers.place_call(GOES_ON, from_=CALLER, to=DECLINED)
            async with asyncio.timeout(60):
                cls.colleague = await ended.get()

    def test_the_caller_is_with_the_agent_again_when_the_colleague_has_declined(self) -> None:
        self.assertEqual((self.caller.complaints, self.caller.failures), ([], []), self.trouble())
        self.assertEqual(self.colleague.complaints, [])
        self.assertEqual(self.colleague.pressed, "2")
        self.assertEqual((self.caller.verbs, self.caller.joined_to), (["Connect", "Enqueue", "Connect"], ""))
        self.assertEqual((self.caller.waited[0], self.caller.waited[-1]), ("Play", "Leave"))
        row = self.finished(self.caller.call_sid, 60)
        self.assertEqual((row.ended_reason, row.last_stream), ("caller_hung_up", 1))
        leg = CallLeg.objects.get(call=row)
        self.assertEqual((leg.state, leg.reason, leg.leg_sid), ("refused", "said_no", self.colleague.call_sid))
        turns = self.turns(self.caller.call_sid)
        self.assertEqual(turns[2].bot_reply, sentence("unreached", "en"))
