"""Signals before a machine exists: they end a block as an exception, so that the block removes its files."""

from __future__ import annotations

import os
import signal

import pytest

from cvl_ci.cli.stopping import interruptible


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_block_as_an_exception_and_its_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
