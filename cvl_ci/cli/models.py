"""The verb `models`: a model of the hub in a bucket. It launches nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cvl_ci.errors import RequestError
from cvl_ci.inputs import table, verb_options
from cvl_ci.local.console.streams import Console


def models(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Store, list, verify or remove models. Raise CvlError."""
    from cvl_ci.wiring import models as wired_models

    options = table.verb_options("models")
    values = verb_options.read(parsed, options)
    caller = wired_models.ModelsCaller(folder=Path.cwd(), environ=environ, say=console.say, tell=console.tell)
    try:
        return wired_models.models(values, caller)
    except RequestError as error:
        names = {option.name: verb_options.name_of(option) for option in options}
        mistakes = [replace(mistake, field=names.get(mistake.field, mistake.field)) for mistake in error.mistakes]
        raise RequestError(mistakes) from None
