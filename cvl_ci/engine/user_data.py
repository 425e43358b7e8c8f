"""The timer armed at boot, as user data: it ends a machine to which no runner, ssh or SkyPilot ever came. Text only.

A part of type text/cloud-boothook is the first thing of the user data that cloud-init runs, and it runs at every boot
(AWS PCS User Guide, "Run early boot operations with a cloud-init boothook"); what was to be sent goes along unchanged.
"""

from __future__ import annotations

import time
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from importlib import resources
from typing import Any

from cvl_ci.model.lease_name import LABEL_DEADLINE

_KINDS = {"#cloud-config": "cloud-config", "#!": "x-shellscript"}


def armed(request: dict[str, Any], *, deadline: float) -> dict[str, Any]:
    """RunInstances' parameters with the timer in them, and a power-off that is a termination, not a stop."""
    theirs = str(request.get("UserData") or "")
    return {
        **_labelled(request, deadline),
        "UserData": user_data(theirs, deadline=deadline, seconds=deadline - time.time()),
        "InstanceInitiatedShutdownBehavior": "terminate",
    }


def _labelled(request: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The label says the same as the timer, also where the money of this very machine ends before the lease does."""
    if "TagSpecifications" not in request:
        return request
    said = {LABEL_DEADLINE: str(int(deadline))}
    specifications = [
        {**each, "Tags": [{**tag, "Value": said.get(tag["Key"], tag["Value"])} for tag in each.get("Tags", [])]}
        for each in request["TagSpecifications"]
    ]
    return {**request, "TagSpecifications": specifications}


def user_data(theirs: str, *, deadline: float, seconds: float) -> str:
    """`seconds`: the same moment on a clock that nobody sets, for a machine whose own is wrong."""
    message = MIMEMultipart()
    message.attach(MIMEText(_hook(deadline, seconds), "cloud-boothook", "utf-8"))
    if theirs:
        # cloud-init tells what a part of type text/plain is by how it begins.
        kind = next((kind for start, kind in _KINDS.items() if theirs.startswith(start)), "plain")
        message.attach(MIMEText(theirs, kind, "utf-8"))
    return message.as_string()


def _hook(deadline: float, seconds: float) -> str:
    text = resources.files("cvl_ci.engine").joinpath("machine/deadline.sh").read_text(encoding="utf-8")
    return text.replace("@DEADLINE@", str(int(deadline))).replace("@SECONDS@", str(max(0, int(seconds))))
