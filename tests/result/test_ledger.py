"""The ledger: an entry for each thing that costs. Its sums equal its entries in every generated history of a run."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace

import pytest

from cvl_ci.model.billing import month_hours, rules_of
from cvl_ci.model.launch import Attempt
from cvl_ci.model.ledger import CostKind, Ledger, LedgerEntry, Life, Memory
from cvl_ci.model.storage import Bucket, KeptBucket, StoredBytes
from cvl_ci.result.ledger import Ends, build, lines, missing, parts, to_json
from tests import golden

MESSAGES = golden.Messages(__name__)

START = 1_795_900_000.0
ENDS = Ends(removed_at=START + 1000, gone_at=START + 1010)
ON_AWS = Attempt(
    cloud="aws",
    region="us-east-1",
    zone="us-east-1a",
    instance_type="m6i.large",
    spot=False,
    hourly_usd=0.096,
    requested_at=START,
)


def life(
    start: float, end: float | None, *, attempt: Attempt = ON_AWS, was_taken: bool = False, number: int = 0
) -> Life:
    return Life(
        id=f"i-{number}-{start}",
        cloud=attempt.cloud,
        region=attempt.region,
        instance_type=attempt.instance_type,
        spot=attempt.spot,
        start=start,
        end=end,
        was_taken=was_taken,
    )


def machines(ledger: Ledger) -> list[LedgerEntry]:
    return list(ledger.of_kind(CostKind.MACHINE))


def test_a_bucket_costs_its_size_from_before_it_was_made_to_the_end() -> None:
    known_bucket = KeptBucket(
        bucket=Bucket(name="b", region="us-east-1"), content=StoredBytes(files=2, bytes=100 << 30), since=START - 60
    )
    unlisted = replace(known_bucket, content=None)
    cut = replace(known_bucket, content=StoredBytes(files=2, bytes=1, is_complete=False))
    ledger = build([ON_AWS], nodes=1, disk_gb=100, ends=ENDS, buckets=(known_bucket, unlisted, cut))
    one, *unknown = ledger.of_kind(CostKind.BUCKET)
    assert one.usd == pytest.approx(100 * 0.023 * 1070 / (month_hours(START) * 3600))
    assert [entry.usd for entry in unknown] == [None, None]
    assert "buckets on aws" in missing(ledger)
    MESSAGES.check("a bucket", golden.line(lines(ledger), "GB of S3 Standard in"))
    only_it = build([], nodes=1, disk_gb=100, ends=ENDS, buckets=(replace(known_bucket, since=0.0),))
    assert [entry.usd for entry in only_it.entries] == [0.0], "without a moment there is no time to bill"


def test_the_provider_s_own_dates_come_before_ours() -> None:
    ledger = build([ON_AWS], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(lives=(life(START + 2, START + 902),)))
    [machine] = machines(ledger)
    assert (machine.seconds, machine.is_metered) == (900.0, True)
    assert machine.usd == pytest.approx(0.096 * 900 / 3600)


def test_a_server_s_record_names_an_attempt_and_its_request_and_tells_of_no_machine_by_itself() -> None:
    bound = replace(ON_AWS, region="", instance_type="", hourly_usd=9.0, is_bound=True)
    asked = replace(life(START + 47, None), is_recorded=True, hourly_usd=0.096)
    [machine] = machines(build([bound], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(requested=(asked,))))
    assert (machine.seconds, machine.item, machine.is_bound) == (953.0, "m6i.large", False), (
        "without the server's queue"
    )
    refused = replace(bound, error="InsufficientInstanceCapacity", ended_at=START + 60)
    assert build([refused], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(requested=(asked,))).entries == ()
    for moment in (START - 1, START + 61):
        other = replace(asked, start=moment)
        ledger = build(
            [replace(refused, machines=1)], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(requested=(other,))
        )
        assert machines(ledger)[0].start == START, "a record of another time does not date this attempt"


def test_without_them_aws_is_billed_until_the_request_and_gcp_until_the_machine_is_gone() -> None:
    on_gcp = replace(ON_AWS, cloud="gcp", region="us-central1")
    seconds = [machines(build([one], nodes=1, disk_gb=100, ends=ENDS))[0].seconds for one in (ON_AWS, on_gcp)]
    assert seconds == [1000.0, 1010.0]


def test_a_refused_attempt_costs_nothing_and_one_whose_machines_came_up_does() -> None:
    refused = replace(ON_AWS, error="InsufficientInstanceCapacity", ended_at=START + 5)
    failed = replace(ON_AWS, region="us-west-2", error="never answered", ended_at=START + 405, requested_at=START + 5)
    assert build([refused], nodes=2, disk_gb=100, ends=ENDS).entries == ()
    ledger = build([refused, replace(failed, machines=2)], nodes=2, disk_gb=100, ends=ENDS)
    [machine] = machines(ledger)
    assert (machine.attempt, machine.quantity, machine.seconds) == (2, 2, 400.0)
    assert "failed after its machines came up" in machine.note


def test_each_attempt_has_its_own_price() -> None:
    failed = replace(ON_AWS, region="us-west-2", hourly_usd=9.0, error="no ssh", ended_at=START + 400, machines=1)
    last = replace(ON_AWS, requested_at=START + 400)
    ledger = build([failed, last], nodes=1, disk_gb=100, ends=ENDS)
    assert [entry.usd for entry in machines(ledger)] == [
        pytest.approx(9.0 * 400 / 3600),
        pytest.approx(0.096 * 600 / 3600),
    ]


def test_copied_checkpoints_have_the_price_of_the_cloud_that_they_came_from() -> None:
    first = replace(ON_AWS, copied_bytes=1_000_000_000, ended_at=100.0, error="preempted")
    second = replace(ON_AWS, cloud="lambda", region="us-west-1", zone=None, copied_bytes=2_000_000_000)
    ledger = build([first, second], nodes=1, disk_gb=1, ends=Ends(removed_at=200.0, gone_at=200.0), fetched_bytes=1e9)
    entries = ledger.of_kind(CostKind.TRAFFIC)
    assert [(one.item, one.attempt, one.place.cloud, one.quantity) for one in entries] == [
        ("copied checkpoints", 1, "aws", 1.0),
        ("copied checkpoints", 2, "lambda", 2.0),
        ("fetched files", 2, "lambda", 1.0),
    ]
    assert entries[0].price == rules_of("aws").traffic and entries[1].price == rules_of("lambda").traffic


def test_of_two_nodes_the_lost_one_is_billed_until_it_was_lost() -> None:
    lives = [life(START, START + 300, number=1), life(START, START + 900, number=2)]
    assert [
        entry.seconds
        for entry in machines(build([ON_AWS], nodes=2, disk_gb=1, ends=ENDS, memory=Memory(lives=tuple(lives))))
    ] == [
        300.0,
        900.0,
    ]


def test_a_node_that_the_provider_forgot_is_billed_by_our_own_moments() -> None:
    ledger = build([ON_AWS], nodes=2, disk_gb=1, ends=ENDS, memory=Memory(lives=(life(START, START + 900),)))
    assert sorted((entry.seconds, entry.is_metered) for entry in machines(ledger)) == [(900.0, True), (1000.0, False)]


def test_aws_does_not_bill_a_spot_machine_that_it_takes_within_the_first_hour() -> None:
    on_spot = replace(ON_AWS, spot=True)
    for end, usd in ((3599.0, 0.0), (3601.0, 0.096 * 3601 / 3600)):
        was_taken = [life(START, START + end, attempt=on_spot, was_taken=True)]
        ledger = build([on_spot], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(lives=tuple(was_taken)))
        assert machines(ledger)[0].usd == pytest.approx(usd)
        [disk] = ledger.of_kind(CostKind.DISK)
        assert disk.usd is not None and disk.usd > 0, "the disk is billed in any case"
    gone_by_itself = [life(START, START + 3000, attempt=on_spot)]
    assert build([on_spot], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(lives=tuple(gone_by_itself))).usd > 0.07


def test_a_price_that_no_source_gives_is_reported_as_unknown() -> None:
    ledger = build([replace(ON_AWS, cloud="azure", region="eastus")], nodes=1, disk_gb=100, ends=ENDS)
    assert missing(ledger) == "disks on azure, addresses on azure"
    assert sum("price unknown" in line for line in lines(ledger)) == 2


def test_each_line_tells_what_it_is() -> None:
    ledger = build([ON_AWS], nodes=2, disk_gb=100, ends=ENDS, fetched_bytes=2_000_000)
    MESSAGES.check("each line", lines(ledger))
    assert parts(ledger) == "machines $0.0533, disks $0.011, addresses $0.0028, traffic $0.0002"


def test_a_ledger_until_a_moment_is_a_part_of_the_whole() -> None:
    ledger = build([ON_AWS], nodes=1, disk_gb=100, ends=ENDS)
    assert ledger.until(START).usd == 0.0
    assert ledger.until(START + 500).usd == pytest.approx(ledger.usd / 2)
    assert ledger.until(START + 9999).usd == ledger.usd


def test_the_minimum_belongs_to_the_launch_and_not_to_each_use_of_a_machine() -> None:
    """A machine of AWS that lived for 200 s: uses of 40 s, 10 s and 150 s cost 60, 0 and 140 s."""
    attempt = replace(ON_AWS, requested_at=START - 5)
    whole = build(
        [attempt], nodes=1, disk_gb=100, ends=ENDS, memory=Memory(lives=(life(START, START + 200),)), fetched_bytes=5.0
    )
    uses = [
        whole.until(START + 40).of_kind(CostKind.MACHINE),
        whole.since(START + 40).until(START + 50).of_kind(CostKind.MACHINE),
        whole.since(START + 50).of_kind(CostKind.MACHINE),
    ]
    assert [entry.seconds for [entry] in uses] == [60.0, 0.0, 140.0]
    short = replace(ON_AWS, requested_at=START + 3000)
    ends = Ends(removed_at=START + 3020, gone_at=START + 3020)
    [entered] = machines(build([short], nodes=1, disk_gb=1, ends=ends).since(START + 3000, birth=START))
    assert entered.seconds == 20.0, "no provider dates the machine, and the run knows its launch"
    [own] = machines(build([short], nodes=1, disk_gb=1, ends=ends).since(START + 3000))
    assert own.seconds == 60.0, "a machine that was launched then"


# ---- any history of a run --------------------------------------------------------------------------------------------

CLOUDS = ("aws", "gcp", "azure", "lambda", "runpod", "nebius", "sandbox", "elsewhere")


def history(seed: int) -> tuple[Ledger, list[Life]]:
    dice = random.Random(seed)
    attempts, lives, at = list[Attempt](), list[Life](), START
    nodes = dice.choice([1, 1, 2, 4, 16])
    for number in range(dice.randint(1, 6)):
        cloud = dice.choice(CLOUDS)
        end = at + dice.choice([0.0, 0.3, 3.0, 59.9, 400.0, 4000.0, -5.0])  # a clock may be set back
        has_failed = dice.random() < 0.6
        attempt = Attempt(
            cloud=cloud,
            region=f"r{number % 3}",
            zone=dice.choice([None, "z"]),
            instance_type=dice.choice(["a", "b"]),
            spot=dice.random() < 0.5,
            hourly_usd=dice.choice([0.0, 0.01, 3.0, 98.3]),
            error="no" if has_failed else None,
            requested_at=at,
            ended_at=end if has_failed else None,
            machines=dice.choice([0, nodes]) if has_failed else 0,
        )
        attempts.append(attempt)
        if dice.random() < 0.5:
            count = nodes if attempt.error is None or attempt.machines else 0
            lives += [
                life(at + 0.5, dice.choice([None, max(at + 0.5, end)]), attempt=attempt, number=index)
                for index in range(count)
            ]
        at = end + dice.choice([0.0, 1.0, 100.0])
        if not has_failed:
            break
    ends = Ends(removed_at=at, gone_at=at + dice.choice([0.0, 8.0]))
    ledger = build(
        attempts,
        nodes=nodes,
        disk_gb=dice.choice([0, 100, 16_384]),
        ends=ends,
        memory=Memory(lives=tuple(lives)),
        fetched_bytes=at % 1e9,
    )
    return ledger, lives


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_the_uses_of_a_machine_in_turn_add_up_to_its_bill(first: int) -> None:
    for seed in range(first, first + 100):
        ledger, dice = history(seed)[0], random.Random(seed)
        cuts = sorted(START + dice.choice([0.5, 20.0, 61.0, 500.0, 5000.0]) for _ in range(3))
        rest, parts_usd = ledger, 0.0
        for cut in cuts:
            part = rest.until(cut).entries
            parts_usd += sum(one.usd or 0.0 for one in part if one.kind is not CostKind.TRAFFIC)
            rest = rest.since(cut)
        traffic = sum(one.usd or 0.0 for one in ledger.of_kind(CostKind.TRAFFIC))
        assert parts_usd + rest.usd - sum(one.usd or 0.0 for one in rest.of_kind(CostKind.TRAFFIC)) == pytest.approx(
            ledger.usd - traffic, rel=1e-6, abs=1e-9
        ), seed


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_sums_equal_entries_nothing_overlaps_and_nothing_is_negative(first: int) -> None:
    for seed in range(first, first + 100):
        ledger, lives = history(seed)
        assert ledger.usd == pytest.approx(sum(entry.usd for entry in ledger.entries if entry.usd is not None))
        attempts = {entry.attempt for entry in ledger.entries}
        assert ledger.usd == pytest.approx(
            sum(entry.usd or 0.0 for number in attempts for entry in ledger.entries if entry.attempt == number)
        )
        assert ledger.usd == pytest.approx(sum(Ledger(entries=ledger.of_kind(kind)).usd for kind in CostKind))
        shares = json.loads(json.dumps(to_json(ledger), allow_nan=False))
        assert ledger.usd == pytest.approx(sum(one["usd"] or 0.0 for one in shares))
        assert len(list(lines(ledger))) == len(ledger.entries)
        for entry in ledger.entries:
            assert entry.end >= entry.start and entry.quantity >= 0 and entry.seconds >= 0
            assert (entry.usd is None) == (entry.price.usd is None and not entry.is_free)
            assert entry.usd is None or entry.usd >= 0
            if entry.place.cloud in {"aws", "gcp"} and entry.end > entry.start:
                assert entry.seconds >= 60, "the least that one machine costs there"
            assert entry.seconds >= min(entry.end - entry.start, rules_of(entry.place.cloud).billed_seconds(1.0)) or (
                entry.kind is CostKind.TRAFFIC
            )
        metered = sum(entry.quantity for entry in machines(ledger) if entry.is_metered)
        assert metered == sum(one.end is not None for one in lives), "each machine is in the ledger once"
        by_attempt: dict[int, set[tuple[float, float, bool]]] = defaultdict(set)
        for entry in machines(ledger):
            span = (entry.start, entry.end, entry.is_metered)
            assert span not in by_attempt[entry.attempt], "one entry for equal machines"
            by_attempt[entry.attempt].add(span)
