"""The output of the command line: results to stdout, all else to stderr, everything through the same masks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO, TypeVar

from cvl_ci.errors import CvlError, explain
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.console.terminal import Terminal
from cvl_ci.result.command_shield import OBEYING, defused
from cvl_ci.result.masked_errors import mask
from cvl_ci.result.masks import Masks
from cvl_ci.result.sanitize import for_terminal
from cvl_ci.result.secret_names import SecretInputs, secret_values, secrets_of

Value = TypeVar("Value")


class Console:
    """The standard streams of a program.

    The environment names the secrets and shows whether a CI system reads the output.
    """

    def __init__(self, environ: Mapping[str, str], *, out: TextIO, err: TextIO) -> None:
        self._environ, self._out, self._err = environ, out, err
        self._obeyed = any(environ.get(name) for name in OBEYING)
        self._masks = Masks()
        self._masks.add(*secret_values(environ))

    def learn(self, source: SecretInputs) -> None:
        """Hide from now on the secrets of this request or plan."""
        self._masks.add(*secrets_of(source))

    @property
    def masks(self) -> Masks:
        return self._masks

    @property
    def hide(self) -> Callable[[str], str]:
        return self._masks.hide

    def cleaned(self, value: Value) -> Value:
        return self._masks.cleaned(value)

    def terminal(self) -> Terminal:
        return Terminal(
            out=self._out,
            err=self._err,
            clock=SystemClock(),
            masks=self._masks,
            obeyed=self._obeyed,
            width=shutil.get_terminal_size().columns,
            colour="NO_COLOR" not in self._environ,
        )

    def say(self, *texts: str) -> None:
        """Print the result of a verb, each text on lines of its own."""
        for text in texts:
            print(self._safe(text), file=self._out)

    def show(self, lines: Iterable[str]) -> None:
        """Print lines of a job at once: without a secret, and without what a terminal would obey."""
        for line in lines:
            print(self._safe(self._masks.hide_as_read(for_terminal(line))), file=self._out)
        self._out.flush()

    def tell(self, text: str) -> None:
        """Write to stderr after all of stdout: so a text that says "above" is right in one file too."""
        self._out.flush()
        print(self._safe(f"cvl-ci: {text}"), file=self._err)

    def refuse(self, error: CvlError, *, verb: str) -> None:
        mask(error, self._masks)
        self.tell(explain(error, verb=verb))

    def _safe(self, text: str) -> str:
        hidden = self._masks.hide(text)
        return "\n".join(map(defused, hidden.split("\n"))) if self._obeyed else hidden
