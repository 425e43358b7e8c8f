"""The servers of the API: on this host's loopback and on each network's gateway, nowhere else."""

from __future__ import annotations

import logging
import threading

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from cvl_ci.sandbox.emulator.front import Front
from cvl_ci.sandbox.sandbox_spec import SandboxSpec


def listen(spec: SandboxSpec, front: Front) -> None:
    """Bind and serve. Raises OSError when another process has the port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    for host in ("127.0.0.1", *(network.gateway for network in spec.networks)):
        server = make_server(host, spec.port, front, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
