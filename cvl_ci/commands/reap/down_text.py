"""Write the lines of `down`: each lease and its proof, then the clouds without an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cvl_ci.commands.reap.down import Downed
from cvl_ci.model.location import Location
from cvl_ci.result import text
from cvl_ci.result.sanitize import plain


def lines(downed: Downed, *, locations: Sequence[Location]) -> Iterator[str]:
    """Yield the lines. `asked`: the places that the user named."""
    for name, release in downed.releases.items():
        yield f"{name}: {'gone' if release.gone else 'NOT PROVED GONE: it may still be running and billed'}"
        for answer in (*map(text.answer, release.asked), *text.kept_checkpoints(release), *text.unproved(release)):
            yield f"  {answer}"
    for resource in downed.unlabelled:
        name = plain(f"{resource.provider} {resource.region} {resource.id}")
        yield f"named like ours, but without our labels, so it stays untouched, and may be billed: {name}"
    for words in downed.silent:
        yield f"INCOMPLETE ANSWER: {plain(words)}"
    if downed.silent:
        yield (
            "So there is no proof that nothing else of cvl-ci is left. A machine or a bucket there is billed. "
            "Check the credentials with `cvl-ci check`, and run this again."
        )
    elif not downed.releases and not downed.unlabelled:
        yield _nothing_left(locations)


def _nothing_left(locations: Sequence[Location]) -> str:
    if locations:
        clouds = ", ".join(map(str, locations))
        return f"cvl-ci has nothing left: its records show no lease that runs, and {clouds} shows none."
    return "The records here show no lease that runs. cvl-ci asked no cloud: add `--cloud aws` to search there too."
