"""Look at the host from a container on its network: `python -m cvl_ci.sandbox.emulator.host_probe DEVICES PORT...`.

Prints the ranges that the host routes, free ports (the preferred ones first), and the devices that it can give to
machines. DEVICES is the mount of the host's /dev.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cvl_ci.sandbox.docker import networks, ports
from cvl_ci.sandbox.emulator.containers import FUSE

PORTS = 3

if __name__ == "__main__":
    _, devices, *before = sys.argv
    report = {
        "routes": [str(route) for route in networks.host_routes()],
        "ports": ports.free(PORTS, hosts=[ports.EVERYWHERE], preferred=[int(port) for port in before]),
        "devices": [FUSE] if Path(devices, Path(FUSE).name).exists() else [],
    }
    print(json.dumps(report))
