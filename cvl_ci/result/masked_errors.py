"""Errors that leave the library: their words go through the masks, and their kind and exit code stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cvl_ci.errors import CvlError, RequestError
from cvl_ci.result.masks import Masks


@contextmanager
def masked_errors(masks: Masks) -> Iterator[None]:
    """Hide in a CvlError, in place, what it says; whoever catches it gets the same object."""
    try:
        yield
    except CvlError as error:
        error.what, error.money, error.next_step = map(masks.hide, (error.what, error.money, error.next_step))
        error.args = tuple(masks.cleaned(list(error.args)))
        if isinstance(error, RequestError):
            error.mistakes = tuple(
                replace(each, value=masks.hide(each.value), problem=masks.hide(each.problem)) for each in error.mistakes
            )
        raise
