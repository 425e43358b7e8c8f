"""The verb `models`: a model of the hub in a bucket. It launches nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from cvl_ci.inputs import table, verb_options
from cvl_ci.local.console.streams import Console


def models(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Store, list, verify or remove models. Raise CvlError."""
    from cvl_ci.wiring import models as wired

    values = verb_options.read(parsed, table.verb_options("models"))
    return wired.models(
        values, wired.ModelsCaller(folder=Path.cwd(), environ=environ, say=console.say, tell=console.tell)
    )
