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
        mask(error, masks)
        raise


def mask(error: CvlError, masks: Masks) -> None:
    """Hide secrets in an error. A wrong value is hidden before it is cut: half a secret would be hidden nowhere."""
    if isinstance(error, RequestError):
        error.mistakes = tuple(
            replace(each, value=masks.hide(each.value), problem=masks.hide(each.problem)) for each in error.mistakes
        )
        error.what = RequestError(error.mistakes).what
    error.what, error.money, error.next_step = map(masks.hide, (error.what, error.money, error.next_step))
    error.args = (error.what,)
