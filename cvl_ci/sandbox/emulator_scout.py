"""What the host has taken, seen from a container on its network: `python -m cvl_ci.sandbox.emulator_scout PORT...`.

Prints {"routes": [...], "ports": [...]}: ranges of addresses it routes somewhere; free ports, those asked for first.
"""

from __future__ import annotations

import json
import sys

from cvl_ci.sandbox import networks, ports

PORTS = 3

if __name__ == "__main__":
    wanted = ports.free(PORTS, hosts=[ports.EVERYWHERE], preferred=[int(word) for word in sys.argv[1:]])
    print(json.dumps({"routes": [str(each) for each in networks.host_routes()], "ports": wanted}))
