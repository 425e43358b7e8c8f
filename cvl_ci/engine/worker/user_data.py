"""Arm a timer at boot, as user data: it ends a machine that no runner, ssh or SkyPilot ever reached. Text only.

A part of type text/cloud-boothook is the first part of the user data that cloud-init runs. It runs at every boot (AWS
PCS User Guide, "Run early boot operations with a cloud-init boothook"). SkyPilot's own user data goes along unchanged.
"""

from __future__ import annotations

import math
import time
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from importlib import resources
from typing import Any

from cvl_ci.model.lease_name import LABEL_DEADLINE

_KINDS = {"#cloud-config": "cloud-config", "#!": "x-shellscript"}


def armed(request: dict[str, Any], *, deadline: float, set_up_seconds: float = math.inf) -> dict[str, Any]:
    """Return RunInstances' parameters with the timer in them, and with a power-off that terminates instead of stops.

    `set_up_seconds`: after so long the machine ends in any case, unless a runner has set it up.
    """
    user_data_of_sky, now = str(request.get("UserData") or ""), time.time()
    set_up_end = min(deadline, now + set_up_seconds)
    return {
        **_labelled(request, deadline),
        "UserData": user_data(user_data_of_sky, deadline=deadline, seconds=deadline - now, set_up_end=set_up_end),
        "InstanceInitiatedShutdownBehavior": "terminate",
    }


def _labelled(request: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Set the label to the same moment as the timer, also if the money for this machine ends before the lease."""
    if "TagSpecifications" not in request:
        return request
    label_values = {LABEL_DEADLINE: str(int(deadline))}
    specifications = [
        {
            **specification,
            "Tags": [
                {**tag, "Value": label_values.get(tag["Key"], tag["Value"])} for tag in specification.get("Tags", [])
            ],
        }
        for specification in request["TagSpecifications"]
    ]
    return {**request, "TagSpecifications": specifications}


def user_data(user_data_of_sky: str, *, deadline: float, seconds: float, set_up_end: float = math.inf) -> str:
    """Return the user data.

    `seconds`: the same moment by a clock that no program can set, for a machine whose clock is wrong.
    `set_up_end`: the end of a machine that no runner has set up.
    """
    message = MIMEMultipart()
    message.attach(MIMEText(_hook(deadline, seconds, min(deadline, set_up_end)), "cloud-boothook", "utf-8"))
    if user_data_of_sky:
        # cloud-init detects the type of a text/plain part by its first characters.
        kind = next((kind for start, kind in _KINDS.items() if user_data_of_sky.startswith(start)), "plain")
        message.attach(MIMEText(user_data_of_sky, kind, "utf-8"))
    return message.as_string()


def _hook(deadline: float, seconds: float, set_up_end: float) -> str:
    text = resources.files("cvl_ci.engine").joinpath("machine/deadline.sh").read_text(encoding="utf-8")
    values = {"DEADLINE": deadline, "SECONDS": max(0.0, seconds), "SET_UP_END": set_up_end}
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(int(value)))
    return text
