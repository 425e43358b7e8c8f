"""The instance metadata service: whoever asks is known by its address, as on EC2."""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from cvl_ci.sandbox.emulator.ec2 import GONE, Cloud
from cvl_ci.sandbox.emulator.signatures import Keyring, MachineKey
from cvl_ci.sandbox.sandbox_spec import Blueprint

TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105  # a header's name
LIFETIME = f"{TOKEN}-ttl-seconds"


def listen(plan: Blueprint, cloud: Cloud, keyring: Keyring) -> None:
    """On every gateway: machines ask their own one."""
    tokens: dict[str, tuple[str, float]] = {}

    for network in plan.networks:

        class Asked(_Handler):
            pass

        Asked.cloud, Asked.tokens, Asked.keyring, Asked.region = cloud, tokens, keyring, network.region
        server = http.server.ThreadingHTTPServer((network.gateway, plan.metadata_port), Asked)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud
    keyring: Keyring
    region: str
    """Of the network it listens on: machines of another one are not known here."""
    tokens: dict[str, tuple[str, float]]
    """By token, whose it is and until when (monotonic)."""

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token":
            return self._answer(404)
        try:
            seconds = int(self.headers[LIFETIME])
        except (TypeError, ValueError):
            return self._answer(400)
        token = secrets.token_urlsafe(32)
        self.tokens[token] = (self.client_address[0], time.monotonic() + seconds)
        return self._answer(200, token, {LIFETIME: str(seconds)})

    def do_GET(self) -> None:
        instance = self._asking()
        if instance is None:
            return self._answer(404)
        if not self._allowed(instance):
            return self._answer(401)
        if self.path.rstrip("/") == "/latest/user-data":
            body = _user_data(instance)
            return self._answer(200, body) if body else self._answer(404)
        found = look_up(self._documents(instance), self.path)
        return self._answer(404) if found is None else self._answer(200, found)

    def _documents(self, instance: Any) -> dict[str, str]:
        role = _role(self.cloud, instance)
        key = self.keyring.of_machine(instance.id) if role is not None else None
        return documents(instance, notice=self.cloud.notices.get(instance.id), role=role, key=key)

    def _asking(self) -> Any:
        address = self.client_address[0]
        here = (each for _, each in self.cloud.every() if each.region_name == self.region)
        return next((each for each in here if each.state not in GONE and each.private_ip == address), None)

    def _allowed(self, instance: Any) -> bool:
        """Version 2 wants a token; version 1 does without, unless the instance was launched to require one."""
        token = self.headers.get(TOKEN)
        if token is None:
            return bool(instance.metadata_options.http_tokens != "required")
        owner, until = self.tokens.get(token, ("", 0.0))
        return owner == self.client_address[0] and time.monotonic() < until

    def _answer(self, status: int, body: str | bytes = "", headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {
            "Content-Type": "text/plain",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002  # the name it is called by
        """Nothing: skylet asks every few seconds."""


def documents(
    instance: Any, *, notice: datetime | None, role: str | None, key: MachineKey | None = None
) -> dict[str, str]:
    """Every leaf of the tree below /latest/, by its path."""
    meta = {
        "ami-id": instance.image_id, "instance-id": instance.id, "instance-type": instance.instance_type,
        "instance-life-cycle": "spot" if instance.lifecycle == "spot" else "on-demand",
        "hostname": instance.private_dns_name, "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip, "public-ipv4": instance.public_ip or "",
        "mac": instance.nics[0].mac_address, "reservation-id": "r-0", "security-groups": "default",
        "placement/availability-zone": instance.availability_zone, "placement/region": instance.region_name,
        "services/domain": "amazonaws.com", "services/partition": "aws",
    }  # fmt: skip
    if role is not None and key is not None:
        meta[f"iam/security-credentials/{role}"] = json.dumps(_credentials(key))
    if notice is not None:
        moment = f"{notice:%Y-%m-%dT%H:%M:%SZ}"
        meta["spot/instance-action"] = json.dumps({"action": "terminate", "time": moment})
        meta["spot/termination-time"] = moment
    if instance.metadata_options.instance_metadata_tags == "enabled":
        meta |= {f"tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
    return {
        **{f"meta-data/{key}": str(value) for key, value in meta.items()},
        "dynamic/instance-identity/document": json.dumps(_identity(instance)),
    }


def look_up(leaves: dict[str, str], path: str) -> str | None:
    """A leaf's text; for a branch, the names below it, those that lead on with a slash. None: there is no such path."""
    wanted = path.removeprefix("/latest/").strip("/")
    if wanted in leaves:
        return leaves[wanted]
    below = [leaf[len(wanted) + 1 :] for leaf in leaves if leaf.startswith(f"{wanted}/")]
    names = dict.fromkeys(f"{name.split('/')[0]}/" if "/" in name else name for name in below)
    return "\n".join(names) if names else None


def _credentials(known: MachineKey) -> dict[str, str]:
    now = datetime.now(timezone.utc)
    return {
        "Code": "Success", "Type": "AWS-HMAC",
        "AccessKeyId": known.key.id, "SecretAccessKey": known.key.secret, "Token": known.token,
        "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}", "Expiration": f"{now + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip


def _identity(instance: Any) -> dict[str, str]:
    return {
        "accountId": instance.owner_id, "architecture": "x86_64", "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id, "instanceId": instance.id, "instanceType": instance.instance_type,
        "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}", "privateIp": instance.private_ip,
        "region": instance.region_name, "version": "2017-09-30",
    }  # fmt: skip


def _role(cloud: Cloud, instance: Any) -> str | None:
    """The role of the instance's profile, if it was launched with one."""
    backend, _ = cloud.find(instance.id)
    for association in backend.iam_instance_profile_associations.values():
        if association.instance.id == instance.id and association.iam_instance_profile.roles:
            return str(association.iam_instance_profile.roles[0].name)
    return None


def _user_data(instance: Any) -> bytes:
    if not instance.user_data:
        return b""
    return base64.b64decode(str(instance.user_data))
