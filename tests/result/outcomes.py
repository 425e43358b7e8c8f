"""One outcome of each kind, as the golden files show them."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.ledger import Cost, Ledger
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, FetchedFile, FileResult, MachineResult, Measurements, Outcome, Timing
from cvl_ci.model.release import KeptMachines, ProviderCheck, Release
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result.ledger import Ends, build

GONE = Release(
    gone=True,
    at=1_790_000_000.0,
    asked=(ProviderCheck(provider="aws", region="us-east-1", kinds=("machines", "disks", "addresses")),),
)


def ledger(launch: Launch, seconds: float, *, disk_gb: float = 100.0) -> Ledger:
    """Return the ledger of a run whose machines lived this long."""
    attempt = Attempt(
        cloud=launch.cloud,
        region=launch.region,
        zone=launch.zone,
        instance_type=launch.instance_type,
        spot=launch.spot,
        hourly_usd=launch.hourly_usd,
        requested_at=launch.created_at,
    )
    end = launch.created_at + seconds
    return build([attempt], nodes=launch.num_nodes, disk_gb=disk_gb, ends=Ends(removed_at=end, gone_at=end))


ON_AWS = Launch(
    cluster="cvl-3f9a1c-digits",
    cloud="aws",
    region="us-east-1",
    zone="us-east-1a",
    instance_type="m5.large",
    accelerators={},
    spot=False,
    num_nodes=1,
    hourly_usd=0.096,
    created_at=1_789_999_900.0,
)

SUCCEEDED = Outcome(
    ending=Ending.SUCCEEDED,
    reason="",
    exit_code=0,
    work=WorkIdentity(title="digits-sgd train"),
    machines=MachineResult(
        cluster="cvl-3f9a1c-digits",
        launch=ON_AWS,
        attempts=(
            Attempt(
                cloud="aws",
                region="us-east-1",
                zone="us-east-1a",
                instance_type="m5.large",
                spot=False,
                hourly_usd=0.096,
            ),
        ),
        nodes=(NodeEnd(rank=0, exit_code=0),),
    ),
    timing=Timing(
        phases={
            "staging": 0.21,
            "provisioning": 48.2,
            "setup": 1.4,
            "running": 12.7,
            "fetching": 2.2,
            "releasing": 9.8,
        },
        duration_seconds=74.5,
    ),
    cost=Cost(ledger=ledger(ON_AWS, 72.1), hourly_usd=0.096, estimated_usd=0.128),
    files=FileResult(
        fetched=(
            FetchedFile(path="outputs/checkpoint.npz", bytes=30_096),
            FetchedFile(path="outputs/confusion.csv", bytes=212),
            FetchedFile(path="outputs/metrics.json", bytes=93),
        ),
        directory="cvl-outputs/cvl-3f9a1c-digits",
    ),
    measurements=Measurements(
        metrics={"test_accuracy": 0.9711, "epochs": 30, "by_class": {"recall@1": 0.98, "note": "macro"}}
    ),
    release=GONE,
)

FAILED = replace(
    SUCCEEDED,
    ending=Ending.FAILED,
    reason="The job exited with 7 on the machine.",
    exit_code=7,
    work=replace(SUCCEEDED.work, title="digits-sgd fail"),
    machines=replace(SUCCEEDED.machines, nodes=(NodeEnd(rank=0, exit_code=7),)),
    files=replace(SUCCEEDED.files, fetched=(FetchedFile(path="outputs/before_the_failure.txt", bytes=27),)),
    measurements=replace(SUCCEEDED.measurements, metrics={}),
    advice="Read the job's last lines above: the failure is its own, not the machine's.",
)

NO_CAPACITY = Outcome(
    ending=Ending.NEVER_STARTED,
    reason="No requested location has an L4:1 now.",
    exit_code=75,
    work=WorkIdentity(title="nanogpt train"),
    machines=MachineResult(
        cluster="cvl-77ab01-nanogpt",
        attempts=(
            Attempt(
                cloud="aws",
                region="us-east-1",
                zone="us-east-1a",
                instance_type="g6.xlarge",
                spot=True,
                hourly_usd=0.2415,
                error="InsufficientInstanceCapacity",
            ),
            Attempt(
                cloud="aws",
                region="us-east-1",
                zone="us-east-1b",
                instance_type="g6.xlarge",
                spot=True,
                hourly_usd=0.2415,
                error="InsufficientInstanceCapacity",
            ),
            Attempt(
                cloud="gcp",
                region="us-central1",
                zone=None,
                instance_type="g2-standard-4",
                spot=False,
                hourly_usd=0.7049,
                error="Quota 'NVIDIA_L4_GPUS' exceeded. Limit: 0.0",
            ),
        ),
    ),
    timing=Timing(phases={"staging": 0.3, "provisioning": 31.0, "releasing": 4.0}, duration_seconds=35.3),
    release=Release(
        gone=True,
        at=1_790_000_000.0,
        asked=(
            ProviderCheck(provider="aws", region="us-east-1", kinds=("machines", "disks")),
            ProviderCheck(provider="gcp", region="us-central1", kinds=("machines", "disks")),
        ),
    ),
    advice="Allow more places (--cloud aws,gcp,lambda), another GPU (--gpu '{L4:1, A10G:1}'), or --spot fallback.",
)

CANCELLED = replace(
    SUCCEEDED,
    ending=Ending.CANCELLED,
    reason="Ctrl-C was pressed.",
    exit_code=130,
    work=replace(SUCCEEDED.work, title="digits-sgd slow"),
    timing=replace(
        SUCCEEDED.timing,
        phases={"staging": 0.2, "provisioning": 48.0, "running": 21.0, "releasing": 9.0},
        duration_seconds=78.2,
    ),
    machines=replace(SUCCEEDED.machines, nodes=(NodeEnd(rank=0, exit_code=None),)),
    files=replace(SUCCEEDED.files, fetched=()),
    measurements=replace(SUCCEEDED.measurements, metrics={}),
)

NOT_PROVED_GONE = replace(
    SUCCEEDED,
    ending=Ending.TIMED_OUT,
    reason="The job was still running after 60 minutes.",
    exit_code=79,
    work=replace(SUCCEEDED.work, title="digits-sgd slow"),
    machines=replace(SUCCEEDED.machines, nodes=(NodeEnd(rank=0, exit_code=None, timed_out=True),)),
    files=replace(SUCCEEDED.files, fetched=()),
    measurements=replace(SUCCEEDED.measurements, metrics={}),
    release=Release(
        gone=False,
        at=1_790_000_000.0,
        asked=(
            ProviderCheck(
                provider="aws", region="us-east-1", kinds=("machines", "disks"), leftovers=("i-0abc12 (running)",)
            ),
            ProviderCheck(provider="aws", region="us-west-2", kinds=("machines",), error="RequestLimitExceeded"),
        ),
        unproved=("lambda",),
    ),
    advice="Take it down and prove its end:\ncvl-ci down cvl-3f9a1c-digits",
)

ON_TWO_SPOT = replace(
    ON_AWS, instance_type="g6.xlarge", accelerators={"L4": 1}, spot=True, num_nodes=2, hourly_usd=0.2415
)

SPOT_SAVING = replace(
    SUCCEEDED,
    work=replace(SUCCEEDED.work, title="nanogpt train"),
    machines=replace(
        SUCCEEDED.machines,
        launch=ON_TWO_SPOT,
        attempts=(
            replace(NO_CAPACITY.machines.attempts[0]),
            replace(NO_CAPACITY.machines.attempts[1], error=None),
        ),
        nodes=(NodeEnd(rank=0, exit_code=0), NodeEnd(rank=1, exit_code=0)),
    ),
    timing=replace(
        SUCCEEDED.timing, duration_seconds=3912.0, phases={"provisioning": 95.0, "running": 3780.0, "releasing": 20.0}
    ),
    cost=Cost(ledger=ledger(ON_TWO_SPOT, 3890.0), hourly_usd=0.483, estimated_usd=0.644, on_demand_hourly_usd=1.6096),
)

ON_SANDBOX = replace(
    SUCCEEDED,
    machines=replace(SUCCEEDED.machines, launch=replace(ON_AWS, cloud="sandbox")),
    cost=Cost(
        ledger=ledger(replace(ON_AWS, cloud="sandbox"), 72.1), hourly_usd=0.096, estimated_usd=0.128, billed=False
    ),
    release=replace(GONE, asked=(replace(GONE.asked[0], provider="sandbox"),)),
    warnings=("--gpus all was left out: a sandbox machine has no GPU.",),
)

NOTHING_ASKED = Outcome(
    ending=Ending.NEVER_STARTED,
    reason="The cloud does not know these credentials.",
    exit_code=77,
    work=WorkIdentity(title="digits-sgd train"),
    machines=MachineResult(cluster="cvl-3f9a1c-digits"),
    timing=Timing(duration_seconds=0.4),
    release=Release(gone=True, at=1_790_000_000.0, needed=False),
)

HOSTILE = replace(
    FAILED,
    work=replace(FAILED.work, title="`` @everyone </code> [x](javascript:alert(1))"),
    reason="```\n# pwned\n::set-output name=x::y | a | b",
    files=replace(
        FAILED.files,
        fetched=tuple(
            FetchedFile(path=path, bytes=1)
            for path in (
                "a|b\\|c.txt",
                "`tick` ``two`` `",
                "<img src=x onerror=alert(1)>",
                "#1 GH-1 cvl/ci#2 @torvalds https://example.com www.example.com a@example.com",
                "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\r\nnext",
                "</details><!-- --><script>",
                "-" * 400,
            )
        ),
        refused=("../../etc/passwd: leads out of the root", "$\\x$ &lt;b&gt; [ref]: http://example.com"),
    ),
    measurements=replace(FAILED.measurements, metrics={"ndcg@10": float("nan"), "<b>": {"|": "```\n</details>"}}),
    warnings=("\u202egnp.exe", "##[error]no"),
)

KEPT = replace(
    FAILED,
    cost=Cost(ledger=ledger(ON_AWS, 672.1), hourly_usd=0.096, estimated_usd=0.144, kept_usd=0.016),
    release=replace(
        GONE,
        gone=False,
        asked=(replace(GONE.asked[0], leftovers=("i-0a1b2c3d4e5f60718 (running)",)),),
        kept=KeptMachines(until=1_790_000_600.0, ways_in=("ssh ubuntu@203.0.113.7",)),
    ),
)
"""For ten minutes, by keep_on_failure."""

EVERY = {
    "succeeded": SUCCEEDED,
    "failed_exit_7": FAILED,
    "kept_on_failure": KEPT,
    "no_capacity": NO_CAPACITY,
    "cancelled": CANCELLED,
    "not_proved_gone": NOT_PROVED_GONE,
    "spot_saving": SPOT_SAVING,
    "on_sandbox": ON_SANDBOX,
    "nothing_asked": NOTHING_ASKED,
    "hostile": HOSTILE,
}
