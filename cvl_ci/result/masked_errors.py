"""Mask the words of errors that leave the library; their kind and exit code stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cvl_ci.errors import CvlError, RequestError
from cvl_ci.result.masks import Masks


@contextmanager
def masked_errors(masks: Masks) -> Iterator[None]:
    """Mask the text of a CvlError in place and raise the same object again."""
    try:
        yield
    except CvlError as error:
        mask(error, masks)
        raise


def mask(error: CvlError, masks: Masks) -> None:
    """Hide secrets in an error.

    It hides a wrong value before the value is cut, because no mask recognizes half a secret.
    """
    if isinstance(error, RequestError):
        error.mistakes = tuple(
            replace(mistake, value=masks.hide(mistake.value), problem=masks.hide(mistake.problem))
            for mistake in error.mistakes
        )
        error.what = RequestError(error.mistakes).what
    error.what, error.money, error.next_step = map(masks.hide, (error.what, error.money, error.next_step))
    error.args = (error.what,)
