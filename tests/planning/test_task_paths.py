"""The paths of a task: variables as SkyPilot fills them in, and then what lies in the repository made absolute."""

from __future__ import annotations

from cvl_ci.planning import task_paths
from tests import golden

MESSAGES = golden.Messages(__name__)


def absolute(mounts: dict[str, object]) -> object:
    result = task_paths.with_absolute_sources(
        {"file_mounts": mounts}, locate=lambda arguments: arguments.removeprefix("./"), root="/repo"
    )
    return result["file_mounts"]


def test_files_from_beside_us_get_absolute_paths() -> None:
    assert absolute(
        {
            "/data": "./data",
            "/bucket": "s3://bucket/x",
            "/home": "~/x",
            "/more": {"source": "./more", "mode": "COPY"},
            "/two": {"source": ["./a", "b"], "name": "two"},
            "/secret": "$TOKEN/x",
        }
    ) == {
        "/data": "/repo/data",
        "/bucket": "s3://bucket/x",
        "/home": "~/x",
        "/more": {"source": "/repo/more", "mode": "COPY"},
        "/two": {"source": ["/repo/a", "/repo/b"], "name": "two"},
        "/secret": "$TOKEN/x",
    }


def test_variables_are_filled_in_before_anything_is_looked_for() -> None:
    extra = {
        "file_mounts": {"/d/$NAME": "$DATA", "/s": {"name": "b-${NAME}", "source": ["${DATA}/x"]}},
        "volumes": {"/v": "$NAME"},
        "event_callback": "echo $NAME",
    }
    filled = task_paths.filled_in(extra, {"DATA": "s3://bucket", "NAME": "n"})
    assert filled == {
        "file_mounts": {"/d/n": "s3://bucket", "/s": {"name": "b-n", "source": ["s3://bucket/x"]}},
        "volumes": {"/v": "n"},
        "event_callback": "echo $NAME",
    }
    assert task_paths.filled("$NAME/$OTHER", {"NAME": "n"}) == "n/$OTHER"


def test_a_variable_that_is_never_set_is_a_mistake_and_a_secret_is_not() -> None:
    extra = {"file_mounts": {"/d": "$DATA/$DATA", "/s": {"source": "s3://$BUCKET"}, "/t": "$TOKEN"}}
    MESSAGES.check("never set", task_paths.unset(extra, secrets={"TOKEN"}))
