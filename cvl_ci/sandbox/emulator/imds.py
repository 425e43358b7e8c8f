"""The instance metadata service. The caller's address identifies the instance, as on EC2."""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from cvl_ci.sandbox.emulator.ec2 import GONE, EmulatedEc2
from cvl_ci.sandbox.emulator.signatures import Keyring, MachineKey
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105  # a header's name
LIFETIME = f"{TOKEN}-ttl-seconds"


def listen(spec: SandboxSpec, cloud: EmulatedEc2, keyring: Keyring) -> None:
    """Listen on each gateway: a machine uses the one of its own network."""
    tokens: dict[str, tuple[str, float]] = {}

    for network in spec.networks:

        class RegionHandler(_Handler):
            pass

        RegionHandler.cloud, RegionHandler.tokens, RegionHandler.keyring, RegionHandler.region = (
            cloud,
            tokens,
            keyring,
            network.region,
        )
        server = http.server.ThreadingHTTPServer((network.gateway, spec.metadata_port), RegionHandler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: EmulatedEc2
    keyring: Keyring
    region: str
    """The region of the network. Machines of other regions are unknown here."""
    tokens: dict[str, tuple[str, float]]
    """By token: the address of its owner, and its end (monotonic seconds)."""

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
        instance = self._calling_instance()
        if instance is None:
            return self._answer(404)
        if not self._allowed(instance):
            return self._answer(401)
        if self.path.rstrip("/") == "/latest/user-data":
            body = _user_data(instance)
            return self._answer(200, body) if body else self._answer(404)
        text = look_up(self._documents(instance), self.path)
        return self._answer(404) if text is None else self._answer(200, text)

    def _documents(self, instance: Any) -> dict[str, str]:
        role = _role(self.cloud, instance)
        key = self.keyring.of_machine(instance.id) if role is not None else None
        return documents(instance, notice=self.cloud.notices.get(instance.id), role=role, key=key)

    def _calling_instance(self) -> Any:
        address = self.client_address[0]
        records = (record for _, record in self.cloud.records() if record.region_name == self.region)
        return next((record for record in records if record.state not in GONE and record.private_ip == address), None)

    def _allowed(self, instance: Any) -> bool:
        """Return whether the token is right.

        Version 1 needs no token, unless the instance was launched to require one.
        """
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

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # this is the name that the base class calls
        """Log nothing: skylet sends a request every few seconds."""


def documents(
    instance: Any, *, notice: datetime | None, role: str | None, key: MachineKey | None = None
) -> dict[str, str]:
    """Return each leaf of the tree below /latest/, by its path."""
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
    """Return a leaf's text. For a branch: its names, with a slash after inner branches. None: there is no such path."""
    inner = path.removeprefix("/latest/").strip("/")
    if inner in leaves:
        return leaves[inner]
    below = [leaf[len(inner) + 1 :] for leaf in leaves if leaf.startswith(f"{inner}/")]
    names = dict.fromkeys(f"{name.split('/')[0]}/" if "/" in name else name for name in below)
    return "\n".join(names) if names else None


def _credentials(machine_key: MachineKey) -> dict[str, str]:
    now = datetime.now(timezone.utc)
    return {
        "Code": "Success", "Type": "AWS-HMAC",
        "AccessKeyId": machine_key.key.id, "SecretAccessKey": machine_key.key.secret, "Token": machine_key.token,
        "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}", "Expiration": f"{now + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip


def _identity(instance: Any) -> dict[str, str]:
    return {
        "accountId": instance.owner_id, "architecture": "x86_64", "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id, "instanceId": instance.id, "instanceType": instance.instance_type,
        "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}", "privateIp": instance.private_ip,
        "region": instance.region_name, "version": "2017-09-30",
    }  # fmt: skip


def _role(cloud: EmulatedEc2, instance: Any) -> str | None:
    """Return the role of the instance's profile, if it was launched with one."""
    backend, _ = cloud.find(instance.id)
    for association in backend.iam_instance_profile_associations.values():
        if association.instance.id == instance.id and association.iam_instance_profile.roles:
            return str(association.iam_instance_profile.roles[0].name)
    return None


def _user_data(instance: Any) -> bytes:
    if not instance.user_data:
        return b""
    return base64.b64decode(str(instance.user_data))
