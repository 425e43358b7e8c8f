"""The table of drills says of each what was done to a run, what caught it, how soon, and what is left."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.model.outcome import Phase
from cvl_ci.model.release import ProviderCheck
from cvl_ci.result.receipt import AFTERWARDS, MACHINE, MAIN, Receipt, table
from tests import golden

MESSAGES = golden.Messages(__name__)

CLEAN = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",))
CAUGHT = Receipt(
    phase=Phase.RUNNING,
    kill="SIGTERM",
    lease="cvl-7-0badcafe",
    first=MAIN,
    line=MAIN,
    seconds=3.2,
    seen_after_kill=2,
    at=1_800_000_000.0,
    checks=(CLEAN,),
)


def test_a_row_for_each_drill_and_how_many_left_a_machine() -> None:
    late = replace(CAUGHT, kill="SIGINT", line=AFTERWARDS, seconds=92.0)
    left = replace(
        CAUGHT,
        phase=Phase.SETUP,
        kill="runner-lost",
        first=MACHINE,
        line=None,
        seconds=None,
        checks=(replace(CLEAN, leftovers=("i-1", "vol-1")),),
    )
    silent = replace(left, checks=(replace(CLEAN, error="no answer"),))
    early = replace(CAUGHT, phase=Phase.FETCHING, line=None, seconds=None, problem="the run ended before it")
    MESSAGES.check("drills", table([CAUGHT, late, left, silent, early], place="aws"))


def test_one_region_that_shows_something_is_not_gone() -> None:
    assert not replace(CAUGHT, checks=(CLEAN, replace(CLEAN, region="us-west-2", leftovers=("i-1",)))).is_gone
    assert not replace(CAUGHT, checks=()).is_gone, "nobody was asked"
