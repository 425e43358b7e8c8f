"""One completion script for each shell, from the parser of the command line. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cvl_ci.inputs.completion import bash, fish, vocabulary, zsh
from cvl_ci.inputs.completion.vocabulary import EXAMPLES, LEASES, REFS

SHELLS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}

_SHELL_LISTS = {
    EXAMPLES: "git ls-files --cached --others --exclude-standard -- '*example.yaml' 2>/dev/null"
    r" | sed -n 's|/example\.yaml$||p'",
    LEASES: r"""ls "${XDG_STATE_HOME:-$HOME/.local/state}/cvl-ci/leases" 2>/dev/null | sed -n 's|\.json$||p'""",
    REFS: "git for-each-ref --format='%(refname:short)' refs/heads refs/remotes refs/tags 2>/dev/null",
}
"""Commands of any POSIX shell, for lists that differ from folder to folder."""


def script(shell: str, parser: argparse.ArgumentParser, *, gpus: Sequence[str], regions: Sequence[str]) -> str:
    """Return the script. `shell`: a key of SHELLS. `gpus` and `regions`: the names in the catalogue."""
    program = vocabulary.read(parser)
    return SHELLS[shell](program, vocabulary.lists(program, gpus=gpus, regions=regions), _SHELL_LISTS)
