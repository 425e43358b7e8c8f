"""Write the shell text that a node runs: cvl-ci's prelude around the plan's commands. Text only, no SDK."""

from __future__ import annotations

import math
import shlex
from importlib import resources
from pathlib import Path

from cvl_ci.engine.task import checkpoints, detached, model_cache, mounts, own_identity, trials
from cvl_ci.inputs.patterns import patterns
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.node_end import MOST_LEFT
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.service import ServicePlan, token_digest
from cvl_ci.planning.trials import order

FAIL_FAST = "set -eo pipefail\n"
"""GitHub's own `run:` under `shell: bash`: docs.github.com/actions/reference/workflow-syntax, `steps[*].shell`."""

SETUP_BEGINS = "cvl-ci: setup begins on this machine"
JOB_BEGINS = "cvl-ci: the job begins on this machine"
UNFIT = "cvl-ci: this machine is not fit for the job"
"""Lines that the machine prints and cvl-ci removes from its log. A job that prints nothing has begun all the same."""
LOG_ENDS = "cvl-ci: the log of this job ends here"
"""The last line of the log of a job of one node. Each line of the job itself has SkyPilot's prefix there."""

SETUP_STREAM, JOB_STREAM = "setup", "running"
"""The names of a node's two logs: `~/.cvl-ci/LEASE/log/NAME/`."""
_SETUP_MARK, _JOB_MARK = "setup-began", "job-began"
BEGUN_MARKS = (_SETUP_MARK, _JOB_MARK)
"""Empty files in a node's folder. The node makes them before the first command of setup, or of the job."""
MARKS = ("began", *BEGUN_MARKS)
"""Those, and the file that machine/prelude.sh makes before anything else."""
_END_OF_FILE = "CVL_CI_END_OF_FILE"
_OTHER_VENDORS = ("tpu", "trainium", "inferentia", "mi", "gaudi", "radeon")
"""SkyPilot's names of accelerators that are not NVIDIA's: sky/catalog/common.py and its catalogues."""
KEY_VARIABLE = "CVL_CI_TLS_KEY"
"""The variable with the private key of a service. No command of the user has it."""
_PROGRAMS = ("findings", "sheet", "host", "nvidia", "cuda", "allreduce", "main")
"""The modules of machine/fitness/, which import each other on the machine too."""

ANSWERED = "cvl-ci: this machine has answered"
LONGEST_END = 48 << 10
"""The most bytes that a node prints about its job's end. node_commands.py reads more."""
CLEAN = "cvl-ci: nothing of the jobs before is left"
HAS_USE, HAS_OTHER_USE = "cvl-ci: this machine has the use ", "cvl-ci: this machine has another use: "
"""The two answers of machine/use.sh, before the use."""
SSH_FAILED = 255
"""The exit code of ssh itself when it reaches no machine."""


def environment(
    plan: RunPlan, *, lease: str, deadline: float, staged: Path | None = None, work_of: str = ""
) -> dict[str, str]:
    """Return the variables for the prelude and the plan's own environment. `deadline`: seconds since the epoch.

    `work_of`: the folder of the earlier job whose CVL_WORK_DIR this job shares; empty: it gets its own.
    """
    idle = plan.limits.idle
    return {
        **(model_cache.environment(plan, staged=staged) if staged else {}),
        **checkpoints.environment(plan),
        **detached.environment(plan, lease=lease),
        **plan.variables.env,
        "CVL_CI_LEASE": lease,
        **({"CVL_CI_WORK_OF": work_of} if work_of else {}),
        "CVL_CI_DIRECTORY": plan.work.directory,
        "CVL_CI_MAX_SECONDS": str(int(plan.limits.max_runtime_minutes * 60)),
        "CVL_CI_DEADLINE": str(int(deadline)),
        # A server has no files to fetch, so it serves until its machine ends.
        "CVL_CI_RESERVE_SECONDS": "0" if plan.service else str(int(RELEASE_MINUTES * 60)),
        "CVL_CI_GPUS": requested_gpus(plan),
        **({"CVL_CI_IDLE": f"{idle.min_percent} {math.ceil(idle.seconds)}"} if idle else {}),
    }


def requested_gpus(plan: RunPlan) -> str:
    """Return the alternatives as `L4:1,A10G:1`; empty without GPUs, or where one is of another vendor or a part."""
    gpus = plan.machines.needs.accelerators
    if any(count != int(count) or name.lower().startswith(_OTHER_VENDORS) for name, count in gpus.items()):
        return ""
    return ",".join(f"{name}:{int(count)}" for name, count in gpus.items())


def setup(plan: RunPlan) -> str | None:
    """Return the text of setup; None without one.

    Two sides are each set up in their turns: an image or package of one side would replace the other's.
    """
    commands = _setup_commands(plan)
    before = [*_hide_key(plan), *birth(plan), prelude(SETUP_STREAM), _probe(), *_places(plan)]
    after = [*_begin_setup(), model_cache.before(plan), *commands]
    return "\n".join([*before, *after]) if commands else None


def run(plan: RunPlan, *, lease: str, with_setup: bool = False) -> str:
    """Return the text of the job. `lease`: the seed that decides which of two sides starts.

    `with_setup`: the job begins with its setup, as a further job on live machines does.
    """
    command = _fail_fast if plan.work.fail_fast else _command
    commands = [command("running", text) for text in plan.work.run_commands]
    if plan.trials.has_samples:
        commands = [_read("samples.sh"), *trials.text(plan, order(plan, seed=lease), command=command)]
    storing = detached.during(plan, end=end(lease=lease), collect=_packing(plan, lease=lease))
    is_further = with_setup and not plan.has_controller
    # No process hears of the time before a managed job, so its program begins before all that may fail.
    first = [own_identity.text(plan), detached.before(plan), storing] if plan.detach.is_managed else []
    return "\n".join(
        [
            *_replica(plan),
            *_hide_key(plan),
            *birth(plan),
            prelude(JOB_STREAM),
            *first,
            *([_probe(is_further=is_further)] if with_setup or not _setup_commands(plan) else []),
            *_places(plan),
            model_cache.before(plan),
            *([*_begin_setup(), *_setup_commands(plan)] if with_setup and _setup_commands(plan) else []),
            _mark(_JOB_MARK),
            _say(JOB_BEGINS),
            _read("gpus.sh"),
            mounts.send_at_exit(plan),
            model_cache.after(plan),
            checkpoints.during(plan),
            detached.LAST if first else storing,
            *_service(plan),
            *commands,
            mounts.wait_for_writes(plan),
            "cvl_ci_end 0 0 running",
            "exit 0",
        ]
    )


def _places(plan: RunPlan) -> list[str]:
    """Return the text that uses buckets before the commands: mounts, the results' place, and the last checkpoint."""
    prepared = [text] if (text := mounts.prepare(plan)) else []
    results = [] if plan.detach.is_managed else [detached.before(plan)]
    return [own_identity.text(plan), *prepared, *results, checkpoints.before(plan)]


def prelude(stream: str) -> str:
    """Return the text before the commands. `stream`: the name under which the node stores their output."""
    supervise = f"cat > \"$cvl_ci_state/supervise.py\" << '{_END_OF_FILE}'\n{_read('supervise.py')}{_END_OF_FILE}"
    return "\n".join([_read("prelude.sh"), f"cvl_ci_stream={stream}", supervise])


def _probe(*, is_further: bool = False) -> str:
    """Return the text that stores the programs of the probe, and runs them before anything of the job."""
    moment = "cvl_ci_moment=further" if is_further else "cvl_ci_moment=before"
    stored = [
        f"cat > \"$cvl_ci_state/fitness/{name}.py\" << '{_END_OF_FILE}'\n{_read(f'fitness/{name}.py')}{_END_OF_FILE}"
        for name in _PROGRAMS
    ]
    unfit = f"cvl_ci_unfit={shlex.quote(UNFIT)}"
    return "\n".join(['mkdir -p "$cvl_ci_state/fitness"', *stored, unfit, moment, _read("fitness.sh")])


def probe_again(plan: RunPlan, *, lease: str) -> str:
    """Return the command that probes a node after its job, and prints the answer in one line."""
    arguments = shlex.join([lease, requested_gpus(plan)])
    return f"bash -c {shlex.quote(_read('fitness-after.sh'))} cvl-ci-probe {arguments}"


def before_further_job() -> str:
    """Return the command that prepares a node for a further job: it ends the containers that run there."""
    return f"bash -c {shlex.quote(_read('between-jobs.sh'))} cvl-ci-between"


def clean() -> str:
    """Return the command that removes everything of the jobs before from a node. It prints CLEAN at its end."""
    return f"bash -c {shlex.quote(_read('seen.sh') + _read('clean.sh'))} cvl-ci-clean"


def change_use(before: str, after: str) -> str:
    """Return the command that notes a use on the head, if the use `before` is noted there; empty: in any case."""
    return f"bash -c {shlex.quote(_read('use.sh'))} cvl-ci-use {shlex.join([before or '-', after])}"


def birth(plan: RunPlan) -> list[str]:
    """Return the text that notes the login user's files before the first job of a machine that is cleaned."""
    is_cleaned = plan.machines.reuse is not None or plan.machines.is_cleaned
    return [_read("seen.sh"), _read("birth.sh")] if is_cleaned else []


def collect(*, lease: str, directory: str, globs: tuple[str, ...]) -> str:
    """Return the command that packs a node's outputs into `~/.cvl-ci/LEASE/fetch/`, and lists the archives."""
    rules_of_globs = patterns(globs, directory=directory)
    outright = "|".join(pattern.outright for pattern in rules_of_globs if pattern.outright)
    rules = [("-" if pattern.takes_out else "+") + pattern.expression for pattern in rules_of_globs]
    return f"bash -c {shlex.quote(_read('collect.sh'))} cvl-ci-collect {shlex.join([lease, outright, *rules])}"


def _packing(plan: RunPlan, *, lease: str) -> str:
    return collect(lease=lease, directory=plan.work.directory, globs=plan.files.outputs)


def end(*, lease: str) -> str:
    """Return the command that prints a job's end on a node: its marks, code, GPUs, trials, leftovers and log sums.

    The marks come first: a job may have written the files after them, at any length. The last line is ANSWERED, also
    if no job ran. Without that line the node did not answer, for any exit code: ssh to a lost machine ends with 255,
    and kubectl to a deleted pod ends with 1.
    """
    sums = f'for log in {SETUP_STREAM} {JOB_STREAM}; do sed "s/^/log=$log /" "log/$log/sum"; {_SIZES}; done'
    marks = f'for mark in {" ".join(MARKS)}; do [ -e "$mark" ] && echo "mark=$mark"; done'
    state = 'head -c 12288 fitness-before | sed "s/^/fitness=/"'
    report = f"{marks}; cat end gpu; {state}; cat samples/told; head -n {MOST_LEFT} left; {sums}"
    parts = f"cd ~/.cvl-ci/{lease} && {{ {report}; }}"
    return f"{{ {parts}; }} 2> /dev/null | head -c {LONGEST_END}; echo; echo {ANSWERED}"


def has_answered(code: int, output: str) -> bool:
    """Tell whether a node answered the command of `end`. `code`: the exit code; `output`: what it printed."""
    return code != SSH_FAILED and output.rstrip().endswith(f"\n{ANSWERED}")


_SIZES = 'for part in old new; do [ -f "log/$log/$part" ] && echo "size=$log/$part $(wc -c < "log/$log/$part")"; done'
"""Print the bytes of each existing part of a log."""


def keep(*, deadline: float, public_key: str | None) -> str:
    """Return the command that moves a node's own end, and lets a person in."""
    arguments = shlex.join([str(int(deadline)), public_key or ""])
    return f"bash -c {shlex.quote(_read('keep.sh'))} cvl-ci-keep {arguments}"


def end_set_up() -> str:
    """Return the command that removes a node's earlier end, which counts until a runner has set it up."""
    file = "/var/lib/cvl-ci/set-up-end"
    return f"[ ! -e {file} ] || sudo -n rm {file}"


def _setup_commands(plan: RunPlan) -> list[str]:
    if plan.trials.base is not None:
        return []
    return [_command("setup", text) for text in plan.work.setup_commands]


def _service(plan: RunPlan) -> list[str]:
    """Return the text that starts the proxy in front of the server. It holds the digest of the token alone."""
    service = plan.service
    if service is None:
        return []
    stored = [
        f"cat > \"$cvl_ci_state/proxy/{name}.py\" << '{_END_OF_FILE}'\n{_read(f'proxy/{name}.py')}{_END_OF_FILE}"
        for name in ("redirects", "main")
    ]
    words = shlex.join([str(service.public_port), str(service.port), _digests(service), *service.allow])
    return [
        'mkdir -p "$cvl_ci_state/proxy"',
        *stored,
        f"cvl_ci_proxy=({words})",
        *_encryption(service),
        _read("service.sh"),
    ]


def _digests(service: ServicePlan) -> str:
    """Return the digest of the token, and for replicas that of their probe's token with its path."""
    probe = service.replicas.probe_token if service.replicas else None
    own = [token_digest(probe.reveal()), service.probe.path] if probe else []
    return ",".join([service.token_digest, *own])


def _replica(plan: RunPlan) -> list[str]:
    """Return the text that ends a replica after its service, and the machine by a timer of its own."""
    return [_read("replica.sh").replace("@SECONDS@", str(int(RELEASE_MINUTES * 60)))] if plan.has_replicas else []


def secrets_of_service(service: ServicePlan | None) -> dict[str, str]:
    """Return the variables that a machine gets for its service alone. The task hides them as the user's secrets."""
    return {} if service is None or service.tls is None else {KEY_VARIABLE: service.tls.key.reveal()}


def _encryption(service: ServicePlan) -> list[str]:
    if service.tls is None:
        return []
    chain = f"cat > \"$cvl_ci_state/tls-chain.pem\" << '{_END_OF_FILE}'\n{service.tls.chain}{_END_OF_FILE}"
    return [chain, _read("tls.sh")]


def _hide_key(plan: RunPlan) -> list[str]:
    """Return the text that takes the key of the proxy out of the environment of all programs that follow."""
    return [f"export -n {KEY_VARIABLE}"] if secrets_of_service(plan.service) else []


def _begin_setup() -> list[str]:
    return [_mark(_SETUP_MARK), _say(SETUP_BEGINS)]


def _mark(name: str) -> str:
    return f': > "$cvl_ci_state/{name}"'


def _say(line: str) -> str:
    return f"echo {shlex.quote(line)}"


def _command(phase: str, text: str) -> str:
    return f"cvl_ci_command {phase} {shlex.quote(text)}"


def _fail_fast(phase: str, text: str) -> str:
    return _command(phase, FAIL_FAST + text)


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
