"""A cloud's own program, asked once and in time; its words come back, its absence and its refusals are told apart."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence

SECONDS = 60
_FORBIDDEN = "(Forbidden)"
"""kubectl's "Error from server (Forbidden): ..." """


def programs(environ: Mapping[str, str]) -> Callable[[Sequence[str]], str]:
    def run(command: Sequence[str]) -> str:
        name = " ".join(word for word in command[:3] if not word.startswith("--"))
        try:
            done = subprocess.run(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise FileNotFoundError(f"`{command[0]}` is not installed here") from None
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"`{name}` did not answer within {SECONDS} s") from None
        if done.returncode != 0:
            said = f"`{name}`: {done.stderr.strip()[-200:]}"
            raise PermissionError(said) if _FORBIDDEN in done.stderr else OSError(said)
        return done.stdout

    return run
