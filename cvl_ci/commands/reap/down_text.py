"""What `down` says, line by line: each lease and its proof, then who did not say which leases there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cvl_ci.commands.reap.down import Downed
from cvl_ci.model.plan import Place
from cvl_ci.result import phrases
from cvl_ci.result.sanitize import plain


def lines(downed: Downed, *, asked: Sequence[Place]) -> Iterator[str]:
    """`asked`: the places where a person said to look."""
    for name, release in downed.releases.items():
        yield f"{name}: {'gone' if release.gone else 'NOT PROVED GONE: it may still be running and billed'}"
        for answer in (*map(phrases.answer, release.asked), *phrases.unproved(release)):
            yield f"  {answer}"
    for resource in downed.unlabelled:
        name = plain(f"{resource.provider} {resource.region} {resource.id}")
        yield f"named like ours, but without our labels, so it is not touched, and may be billed: {name}"
    for words in downed.silent:
        yield f"NO WHOLE ANSWER: {plain(words)}"
    if downed.silent:
        yield (
            "So it is not proved that nothing else of ours is left: what may be running there is billed. "
            "Look at the credentials with `cvl-ci check`, and run this again."
        )
    elif not downed.releases and not downed.unlabelled:
        yield _nothing(asked)


def _nothing(asked: Sequence[Place]) -> str:
    if asked:
        clouds = ", ".join(map(str, asked))
        return f"Nothing of ours is left: no lease is recorded as running here, and none is shown by {clouds}."
    return (
        "No lease is recorded as running here. No cloud was asked: add `--cloud aws`, and it is asked for others too."
    )
