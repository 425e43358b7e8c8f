"""Implement the SharedMachines port: enter machines that another runner launched, one runner at a time."""

from __future__ import annotations

from typing import Any

from cvl_ci.engine import entry_key, sky_errors
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.session import Session, within
from cvl_ci.engine.task import script, task
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_REUSER
from cvl_ci.ports import LaunchRequest

ADOPT_SECONDS = 120.0
USE_SECONDS = 60.0


class SkyPilotSharing:
    """The machines of one lease, entered with a key that follows from the repository's secret."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def adopt(self, request: LaunchRequest, *, region: str) -> None:
        plan, key = request.plan, key_pair(request)
        if key is None:
            raise EngineError("This run has no reuse_key.")
        resources = task.task_config(
            plan,
            name=request.cluster,
            workdir=None,
            labels=request.labels,
            autodown_minutes=None,
            env={},
            setup=None,
            run="true",
            offers=request.offers,
        )["resources"]
        self._call(
            "adopt",
            seconds=ADOPT_SECONDS,
            cluster=request.cluster,
            task={"resources": resources, "run": "true"},
            region=region,
            nodes=plan.machines.num_nodes,
            key=key,
        )

    def forget(self, cluster: str) -> None:
        self._call("forget", seconds=USE_SECONDS, cluster=cluster)

    def change_use(self, cluster: str, *, before: str, after: str) -> bool:
        command = script.change_use(before, after)
        answer = self._call("ask_head", seconds=USE_SECONDS, cluster=cluster, command=command)
        last = (answer["out"].rstrip().splitlines() or [""])[-1]
        # The answer to an earlier request may have been lost: then the machine notes this use already.
        if answer["code"] == 0 and last in {f"{script.HAS_USE}{after}", f"{script.HAS_OTHER_USE}{after}"}:
            return True
        if answer["code"] == 0 and last.startswith(script.HAS_OTHER_USE):
            return False
        why = answer["err"].strip()[-300:] or f"status {answer['code']}"
        raise EngineError(f"The machine does not tell which run uses it: {why}")

    def _call(self, verb: str, *, seconds: float, **request: Any) -> Any:
        try:
            return self._session.worker().call(verb, until=within(seconds), **request)
        except Expired:
            self._session.stop()
            raise EngineError(f"The machine did not answer within {seconds:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure


def key_pair(request: LaunchRequest) -> dict[str, str] | None:
    """Return the key pair of the machines as the worker takes it, by its own pipe. None: SkyPilot makes one."""
    reuse = request.plan.machines.reuse
    if reuse is None or reuse.secret is None:
        return None
    key = entry_key.derive(reuse.secret, user_id=request.labels[LABEL_REUSER], lease=request.cluster)
    return {"private": key.private.reveal(), "public": key.public}
