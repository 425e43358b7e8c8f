"""Where the API listens: this host's loopback and the gateway of every network. Never anywhere else."""

from __future__ import annotations

import logging
import threading

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from cvl_ci.sandbox.emulator.front import Front
from cvl_ci.sandbox.sandbox_spec import Blueprint


def listen(plan: Blueprint, front: Front) -> None:
    """Bound afterwards; raises OSError where another one has the port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for every request
    for host in ("127.0.0.1", *(network.gateway for network in plan.networks)):
        server = make_server(host, plan.port, front, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
