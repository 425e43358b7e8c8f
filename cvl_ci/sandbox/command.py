"""The command line of `cvl-ci sandbox`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TextIO

from cvl_ci.errors import InputProblem, RequestError, SandboxError
from cvl_ci.inputs import line_parser, verb_options
from cvl_ci.inputs.table import terminal_options
from cvl_ci.sandbox.faults import BUCKET_FAULTS, Faults, Throttle
from cvl_ci.sandbox.machine_types import MachineType
from cvl_ci.sandbox.sandbox import Sandbox
from cvl_ci.sandbox.status import Instance, Status

PROGRAM = "cvl-ci sandbox"
_OF_STATUS = "a machine, as the verb `status` shows it"
Verb = Callable[[Sandbox, argparse.Namespace, TextIO], None]
WOULD_WIN = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the sandbox to a parser. `execute` carries out the parsed verb."""
    verbs = parser.add_subparsers(
        dest="sandbox_verb", metavar="VERB", required=True, parser_class=line_parser.AnyOrderParser
    )
    directory = line_parser.AnyOrderParser(add_help=False)
    directory.add_argument(
        "--dir", type=Path, metavar="DIR", help="directory of the sandbox; each directory is one sandbox"
    )

    def verb(name: str, does: Verb, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(name, parents=[directory], help=text, description=text)
        added.set_defaults(sandbox_does=does)
        return added

    verb("up", _up, "start the sandbox; the first start builds a machine image, which takes minutes")
    status = verb("status", _status, "show the machines with their states and tags, and the faults")
    verb_options.add_flags(status, terminal_options("sandbox status"))
    verb("down", _down, "stop the sandbox and remove everything it made except the machine image")
    verb("reset", _reset, "empty the sandbox: no machines, no buckets, no faults")
    verb("env", _env, 'print shell exports for other programs: eval "$(cvl-ci sandbox env)"; sky launch ...')
    _add_faults(verb("faults", _faults, "set faults; without options, show them"))
    interrupt = verb("interrupt", _interrupt, "preempt a spot machine after a notice")
    interrupt.add_argument("instance", nargs="?", metavar="INSTANCE", help=_OF_STATUS)
    interrupt.add_argument("--notice-seconds", type=float, default=120.0, metavar="N", help="default: 120, as on EC2")
    kill = verb("kill", _kill, "end a machine at once")
    kill.add_argument("instance", nargs="?", metavar="INSTANCE", help=_OF_STATUS)
    kill.add_argument("--looks-running", action="store_true", help="EC2 still reports it as running")


def execute(
    parsed: argparse.Namespace, *, environment: Mapping[str, str], machine_types: Sequence[MachineType], out: TextIO
) -> int:
    """Carry out a parsed verb and return the exit code. The caller shows a CvlError, such as RequestError."""
    _check(parsed)
    directory: Path = parsed.dir or default_directory(environment)
    sandbox = Sandbox(
        directory,
        machine_types=machine_types,
        environment=environment,
        progress=lambda line: print(f"sandbox: {line}", file=out, flush=True),
    )
    does: Verb = parsed.sandbox_does
    does(sandbox, parsed, out)
    return 0


def _check(parsed: argparse.Namespace) -> None:
    """Put the words in their place. Raise RequestError for all mistakes, before anything starts."""
    mistakes = line_parser.line_mistakes(parsed)
    words: list[str] = [*parsed.words, *parsed.rest]
    if "instance" in parsed:
        words = [*([parsed.instance] if parsed.instance else []), *words]
        parsed.instance = words.pop(0) if words else ""
        if not parsed.instance:
            problem = f"is missing: name a machine, as `{PROGRAM} status` shows it"
            mistakes.append(InputProblem(field="INSTANCE", value="", problem=problem))
    if words and not mistakes:
        mistakes.append(InputProblem(field="command line", value=" ".join(words), problem="is too much"))
    if mistakes:
        raise RequestError(mistakes, next_step=f"See `{PROGRAM} {parsed.sandbox_verb} --help`.")


def run(
    argv: Sequence[str], *, environment: Mapping[str, str], machine_types: Sequence[MachineType], out: TextIO
) -> int:
    """Parse the words after `cvl-ci sandbox`, carry them out, and return the exit code."""
    parser = line_parser.AnyOrderParser(prog=PROGRAM)
    add_arguments(parser)
    return execute(parser.parse_args(argv), environment=environment, machine_types=machine_types, out=out)


def default_directory(environment: Mapping[str, str]) -> Path:
    if configured := environment.get("CVL_CI_SANDBOX_DIR"):
        return Path(configured)
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/")) / ".local/state")
    return Path(state) / "cvl-ci/sandbox"


# ---- verbs -----------------------------------------------------------------------------------------------------------


def _up(sandbox: Sandbox, parsed: argparse.Namespace, out: TextIO) -> None:
    access = sandbox.up()
    print(f"up: {access.endpoint_url}, regions {', '.join(access.regions)}", file=out)
    print(f'other programs: eval "$({PROGRAM} env{_dir(parsed)})"', file=out)


def _status(sandbox: Sandbox, parsed: argparse.Namespace, out: TextIO) -> None:
    status = sandbox.status(with_size=True)
    print(json.dumps(status.to_json(), indent=2) if parsed.json else "\n".join(describe(status)), file=out)


def _down(sandbox: Sandbox, _: argparse.Namespace, out: TextIO) -> None:
    sandbox.down()
    print("down: the sandbox has no machine, network or volume; its machine image remains", file=out)


def _reset(sandbox: Sandbox, _: argparse.Namespace, out: TextIO) -> None:
    sandbox.reset()
    print("reset: the sandbox is empty", file=out)


def _env(sandbox: Sandbox, _: argparse.Namespace, out: TextIO) -> None:
    """Print shell exports.

    Keys, endpoint and price list lie below HOME, and AWS settings of the shell would override them.
    """
    print(f"unset {' '.join(WOULD_WIN)}", file=out)
    for name, value in sandbox.access().environment.items():
        print(f"export {name}={shlex.quote(value)}", file=out)
    print("# before `cvl-ci sandbox down`, if you used the sky command: sky api stop", file=out)


def _faults(sandbox: Sandbox, parsed: argparse.Namespace, out: TextIO) -> None:
    faults = changed(Faults() if parsed.clear else sandbox.faults(), parsed)
    if faults != sandbox.faults():
        sandbox.set_faults(faults)
    print(json.dumps(non_default(faults), indent=2) if faults else "no faults", file=out)


def _interrupt(sandbox: Sandbox, parsed: argparse.Namespace, out: TextIO) -> None:
    sandbox.interrupt(parsed.instance, notice_seconds=parsed.notice_seconds)
    print(f"{parsed.instance} will be preempted in {parsed.notice_seconds:g} s", file=out)


def _kill(sandbox: Sandbox, parsed: argparse.Namespace, out: TextIO) -> None:
    sandbox.kill(parsed.instance, looks_running=parsed.looks_running)
    print(
        f"{parsed.instance} is dead{', and EC2 still reports it as running' if parsed.looks_running else ''}", file=out
    )


# ---- faults ----------------------------------------------------------------------------------------------------------


def _add_faults(parser: argparse.ArgumentParser) -> None:
    """Add one option for each fault. An option replaces its own fault only. Option `--x-y` sets the field `x_y`."""
    places = "a zone (us-east-1a) or a region (us-east-1)"
    parser.add_argument("--clear", action="store_true", help="remove all faults first, then set the other options")
    many = {
        "--no-capacity": ("PLACE", f"there is no capacity: {places}"),
        "--no-spot-capacity": ("PLACE", f"there is no spot capacity: {places}"),
        "--never-ssh": ("PLACE", f"new machines never answer SSH: {places}"),
        "--broken-gpus": ("PLACE", f"the driver of new machines finds no GPU: {places}"),
        "--lost-answers": ("ACTION", "the API carries the action out and its answer is lost: RunInstances"),
        "--terminate-fails": ("REGION", "TerminateInstances fails"),
        "--expired-keys": ("KEY", "the API answers requests with this access key that it has expired"),
    }
    for option, (metavar, text) in many.items():
        parser.add_argument(option, nargs="+", metavar=metavar, help=text)
    parser.add_argument(
        "--throttle",
        nargs="+",
        type=read_throttle,
        metavar="ACTION[=PROBABILITY][@REGION]",
        help="RequestLimitExceeded: DescribeInstances=0.5, RunInstances@us-east-1, '*'",
    )
    parser.add_argument(
        "--buckets",
        nargs="+",
        type=read_bucket_fault,
        metavar="KIND[:BUCKET[:METHOD[:TIMES]]]",
        help=f"a fault of the object storage ({', '.join(BUCKET_FAULTS)}): denied:my-bucket, cut:*:GET:3",
    )
    parser.add_argument("--api-down", choices=("closed", "503"), help="the API closes each connection, or answers 503")
    parser.add_argument("--slow-boot-seconds", type=float, metavar="N", help="new machines answer N seconds later")


def read_throttle(text: str) -> Throttle:
    """Read ACTION[=PROBABILITY][@REGION]."""
    rest, _, region = text.partition("@")
    action, _, probability = rest.partition("=")
    return Throttle(action=action, probability=float(probability or 1), region=region or None)


def read_bucket_fault(text: str) -> dict[str, object]:
    """Read KIND[:BUCKET[:METHOD[:TIMES]]]."""
    kind, bucket, method, times = (*text.split(":"), "", "", "")[:4]
    return {"kind": kind, "bucket": bucket, "method": method, "times": int(times or 0)}


def changed(faults: Faults, parsed: argparse.Namespace) -> Faults:
    """Return the faults, with the values of the options in place of the old ones.

    Raises SandboxError for a bad value.
    """
    options = {field.name: getattr(parsed, field.name, None) for field in fields(Faults)}
    values = {name: value for name, value in options.items() if value is not None}
    if "throttle" in values:
        values["throttle"] = [asdict(throttle) for throttle in values["throttle"]]
    try:
        return Faults.from_json({**faults.to_json(), **values})
    except ValueError as error:
        raise SandboxError(f"These faults are not valid: {error}.", next_step=f"See {PROGRAM} faults --help") from None


# ---- what a person reads ---------------------------------------------------------------------------------------------


def describe(status: Status) -> list[str]:
    if not status.up:
        leftovers = f"; leftovers: {', '.join(status.leftovers)} (`down` removes them)" if status.leftovers else ""
        return [f"down: {status.directory}{leftovers}"]
    size = f", {status.image_bytes / 1e9:.1f} GB" if status.image_bytes else ""
    return [
        f"up: {status.endpoint_url}, in {status.directory}",
        f"machine image: {status.image}{size}",
        *(_row(instance) for instance in status.instances),
        *([] if status.instances else ["no machines"]),
        *([f"faults: {json.dumps(non_default(status.faults))}"] if status.faults else []),
    ]


def _row(instance: Instance) -> str:
    kind = f"{instance.instance_type}{' spot' if instance.spot else ''}"
    name = instance.tags.get("Name", "")
    place = f"{instance.zone}  {kind:<18}  {instance.address or '-':<15}"
    return f"{instance.id}  {instance.state:<13}  {place}  {name}".rstrip()


def non_default(faults: Faults) -> dict[str, object]:
    defaults = Faults().to_json()
    return {name: value for name, value in faults.to_json().items() if value != defaults[name]}


def _dir(parsed: argparse.Namespace) -> str:
    return f" --dir {shlex.quote(str(parsed.dir))}" if parsed.dir else ""
