"""Change redirects that only the machine could follow, as nginx's default `proxy_redirect` does.

A server may send `Location: http://127.0.0.1:PORT/path`. No caller reaches that address, so the path alone stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LARGEST_HEAD = 64 << 10
HOSTS = (b"127.0.0.1", b"localhost", b"0.0.0.0")
BEGINNING = rb"(?im)^((?:location|refresh)[ \t]*:(?:[^\r\n=]*\burl=)?[ \t]*)https?://(?:%b)(?=[/?#\s]|\Z)"
REST = rb"[/\\]*([^\x00-\x20\x7f]*)(?=[ \t]*(?:\r?\n|\Z))"
"""The slashes become one: `//host` would lead to another host, and `/`, a tab and `/host` too."""
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")


class Redirects:
    """The redirects of one answer. `port`: the server's own. `lines`: the head of the request.

    `is_tls`: those to http:// of the host that the caller named change too, because this port takes https:// alone.
    """

    def __init__(self, port: int, lines: list[bytes], *, is_tls: bool) -> None:
        own = [b"%b:%d" % (host, port) for host in HOSTS]
        hosts = [line.partition(b":")[2].strip() for line in lines[1:] if name(line) == b"host"]
        own += filter(None, hosts if is_tls else ())
        self._pattern = re.compile(BEGINNING % b"|".join(map(re.escape, own)) + REST)

    def changed(self, head: bytes) -> bytes:
        return self._pattern.sub(rb"\1/\2", head)

    def pass_head(self, receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
        """Pass on an answer up to its head, and interim answers before it. A head without an end passes unchanged."""
        data = b""
        while len(data) <= LARGEST_HEAD and (part := receive(65536)):
            data += part
            while data.startswith(INTERIM) and (end := END_OF_HEAD.search(data)):
                send(data[: end.end()])
                data = data[end.end() :]
            if not data.startswith(INTERIM) and (end := END_OF_HEAD.search(data)):
                data = self.changed(data[: end.start()]) + data[end.start() :]
                break
        send(data)


def name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower().replace(b"_", b"-")  # many servers take one for the other
