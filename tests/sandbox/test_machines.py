"""What a machine's container is told of the host."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.sandbox.emulator.containers import resolvers


def test_containers_inside_a_machine_ask_the_name_servers_behind_the_hosts_loopback(tmp_path: Path) -> None:
    behind, plain = tmp_path / "behind", tmp_path / "plain"
    plain.write_text("# a comment\nnameserver 127.0.0.53\nsearch example.com\n")
    assert resolvers([behind, plain]) == []
    behind.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert resolvers([behind, plain]) == ["192.0.2.1", "192.0.2.2"]
