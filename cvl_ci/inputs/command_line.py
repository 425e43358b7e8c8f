"""Parse the command line's verbs and options. A mistyped option is a mistake: --dry-rum must not end machines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NoReturn

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import arguments, line_parser, table, verb_options
from cvl_ci.inputs.deploy_inputs import NOT_OF_A_SERVICE, WORDS_OF_A_SERVICE
from cvl_ci.inputs.suggest import similar

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[line_parser.AnyOrderParser]  # noqa: SLF001  there is no other name for its type

WORDS = {
    "down": "names",
    "collect": "names",
    "check": "clouds",
    "logs": "names",
    "completion": "shells",
    "schema": "files",
}
"""The option that gets a verb's words, from any part of the line."""

SCHEMA_FILES = ("example.yaml", "cvl-ci.yml", "queue")
"""The files with a schema: commands/schema.py has it."""


def parse(
    argv: Sequence[str], *, sandbox: Callable[[argparse.ArgumentParser], None], version: Callable[[], str]
) -> argparse.Namespace:
    """`verb` and its options. `sandbox`: adds the words of that verb. Raises RequestError with all that is wrong.

    `version`: called only where a person asks for it. Without a word the help is shown.
    """
    parser, verbs = _built(sandbox, version=version() if "--version" in argv else "")
    words = argv or ["--help"]
    parser.refuse_unknown(words[0], verbs.choices)
    return _placed(parser.parse_args(words))


def build(*, sandbox: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    """Return the parser itself, for views of it such as shell completion."""
    return _built(sandbox, version="")[0]


def _built(sandbox: Callable[[argparse.ArgumentParser], None], *, version: str) -> tuple[_Program, Verbs]:
    parser = _Program(
        prog="cvl-ci",
        description="Run a GPU job on any cloud with SkyPilot, fetch its files, and leave no machine running.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {version}", help="show this program's version and exit"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=line_parser.AnyOrderParser)
    _add_one_run(verbs)
    _add_tabled(verbs)
    _add_endings(verbs)
    _add_texts(verbs)
    sandbox(verbs.add_parser("sandbox", help="an emulated AWS on your own Docker: try it all with no cloud account"))
    return parser, verbs


class _Program(argparse.ArgumentParser):
    """The parser of the verb. What it cannot read is a mistake like any other, with exit code 64."""

    def refuse_unknown(self, word: str, verbs: Collection[str]) -> None:
        if word not in verbs and not word.startswith("-"):
            raise RequestError(
                [InputProblem(field="VERB", value=word, problem="is not a verb", near=similar(word, verbs))]
            )

    def error(self, message: str) -> NoReturn:
        raise RequestError([InputProblem(field="command line", value=self.prog, problem=f"cannot be read: {message}")])


def _add_one_run(verbs: Verbs) -> None:
    plan = verbs.add_parser("plan", help="show the plan, its places and its price; no network, no credentials")
    arguments.add_arguments(plan)
    verb_options.add_flags(plan, table.terminal_options("plan"))

    run = verbs.add_parser("run", help="run it, fetch its files, and take the machine down with proof")
    arguments.add_arguments(run)
    verb_options.add_flags(run, table.terminal_options("run"))


def _add_tabled(verbs: Verbs) -> None:
    help_texts = {
        "matrix": "examples × clouds × GPUs, priced, as the workflow's matrix; no network",
        "report": "make a summary, a comment and a page of the legs of a run",
        "history": "keep runs as lines in a branch, and read them back",
        "drill": "kill a real run on purpose, and show what ends its machine, and how soon",
        "models": "store a model of the hub in a bucket once; list, verify and remove models",
        "prices": "list every offer for a GPU, the cheapest first; `update` fetches the catalogue",
        "cost": "sum what the runs of the history cost: by day, job, example and cloud",
    }
    _add_queue(verbs)
    _add_deploy(verbs)
    for verb, text in help_texts.items():
        parser = verbs.add_parser(verb, help=text)
        verb_options.add_arguments(parser, table.verb_options(verb))
        verb_options.add_flags(parser, table.terminal_options(verb))


def _add_queue(verbs: Verbs) -> None:
    queue = verbs.add_parser("queue", help="run jobs that need each other, several at a time; resume a killed queue")
    verb_options.add_arguments(queue, table.verb_options("queue"))
    verb_options.add_flags(queue, table.terminal_options("queue"))
    arguments.add_run_options(queue)


def _add_deploy(verbs: Verbs) -> None:
    deploy = verbs.add_parser("deploy", help="start an example's server on one machine: a URL with a token and an end")
    arguments.add_arguments(deploy, without=NOT_OF_A_SERVICE, words=WORDS_OF_A_SERVICE)
    verb_options.add_flags(deploy, table.verb_options("deploy"))
    deploy.set_defaults(**dict.fromkeys(NOT_OF_A_SERVICE), estimate_cost=False)
    verb_options.add_flags(deploy, table.terminal_options("deploy"))


def _add_endings(verbs: Verbs) -> None:
    down = verbs.add_parser("down", help="take the machines of leases down, with proof")
    down.add_argument("names", nargs="*", metavar="NAME", help="leases, as a run printed them")
    verb_options.add_flags(down, table.terminal_options("down"))

    collect = verbs.add_parser("collect", help="fetch the results of detached runs, and prove their machines gone")
    collect.add_argument("names", nargs="*", metavar="NAME", help="leases, as a run printed them; all: each that waits")
    verb_options.add_flags(collect, table.terminal_options("collect"))

    status = verbs.add_parser(
        "status", help="list the open leases: since when, where, until when, the cost so far; ends nothing"
    )
    verb_options.add_flags(status, table.terminal_options("status"))

    logs = verbs.add_parser("logs", help="show the job's lines of a run of this computer, until the run's end")
    logs.add_argument("names", nargs="*", metavar="NAME", help="the lease, as its run printed it")
    verb_options.add_flags(logs, table.terminal_options("logs"))

    check = verbs.add_parser("check", help="show for each cloud which credentials exist and which are missing")
    check.add_argument(
        "clouds", nargs="*", metavar="CLOUD", help="check these only, and fail when one of them cannot be used"
    )

    reap = verbs.add_parser(
        "reap",
        help="end machines that outlived their run; for a schedule",
        description="End a machine after its deadline, or when GitHub calls its run completed. Kept, detached and warm "
        "machines and services stay until their deadline. A preview ends after its pull request is closed.",
    )
    verb_options.add_flags(reap, table.terminal_options("reap"))
    verb_options.add_flags(reap, table.verb_options("reap"))
    reap.set_defaults(grace=table.BY_NAME["grace"].default)


def _add_texts(verbs: Verbs) -> None:
    completion = verbs.add_parser("completion", help="print a script that completes this command line in a shell")
    completion.add_argument(
        "shells", nargs="*", metavar="bash|zsh|fish", help="the shell; its script says how to load it"
    )

    schema = verbs.add_parser("schema", help="print the JSON Schema of a file that you write, for an editor")
    schema.add_argument("files", nargs="*", metavar="|".join(SCHEMA_FILES), help="the file")


def _placed(parsed: argparse.Namespace) -> argparse.Namespace:
    """Move the words of a verb without a table of fields to its option. Verbs with a table read their words by it."""
    if parsed.verb not in {*WORDS, "reap", "status"}:
        return parsed
    surplus = list(parsed.rest)
    if parsed.verb in WORDS:
        setattr(parsed, WORDS[parsed.verb], [*getattr(parsed, WORDS[parsed.verb]), *parsed.words])
    else:
        surplus = [*parsed.words, *surplus]
    mistakes = line_parser.line_mistakes(parsed)
    if surplus and not mistakes:
        mistakes.append(InputProblem(field="command line", value=" ".join(surplus), problem="is too much"))
    if mistakes:
        raise RequestError(mistakes)
    return parsed
