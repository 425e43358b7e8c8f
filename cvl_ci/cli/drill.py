"""The verb `drill`: a real run that is killed on purpose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from cvl_ci import wiring
from cvl_ci.cli.stopping import Stopping
from cvl_ci.inputs import table, verb_options
from cvl_ci.local.console.streams import Console


def drill(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Play the deaths of a run and show what ended its machine. Raise CvlError."""
    from cvl_ci.commands.drill import text as drill_text
    from cvl_ci.inputs.verb_inputs import of_drill
    from cvl_ci.result.receipt import table as receipt_table

    values = verb_options.read(parsed, table.verb_options("drill"))
    inputs, location = of_drill(values), values.get("cloud")
    terminal = console.terminal()

    def hear(line: str) -> None:
        if line:
            terminal.notice(f"  {line}")

    try:
        with Stopping(terminal.warning):
            receipts = wiring.drill(environ, inputs, location=location, say=terminal.notice, hear=hear)
    except KeyboardInterrupt:
        console.tell("The drill was stopped, and nothing of it is left.")
        return 130
    finally:
        terminal.close()
    for receipt in receipts:
        console.say(*drill_text.lines(receipt))
    if inputs.all:
        console.say("", receipt_table(receipts, place=str(location)))
    return drill_text.exit_code(receipts)
