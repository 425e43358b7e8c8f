"""The system calls that a machine may not make: those of Docker's default profile that an inner engine never makes.

Docker's default (moby, profiles/seccomp/default_linux.go) lists the allowed calls. It refuses mounts and namespaces,
without which no container starts inside a machine. So this profile lists the refused calls instead.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

REFUSED = (
    *("open_by_handle_at", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("create_module", "query_module", "get_kernel_syms", "reboot", "swapon", "swapoff", "acct", "settimeofday"),
    *("clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "stime", "iopl", "ioperm"),
    *("vm86", "vm86old", "perf_event_open", "userfaultfd", "lookup_dcookie", "fanotify_init", "nfsservctl"),
    *("quotactl", "quotactl_fd", "syslog", "uselib", "sysfs", "_sysctl", "vserver", "add_key", "request_key"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "move_pages", "mbind", "set_mempolicy"),
)
NOT_PERMITTED = 1


def profile() -> dict[str, object]:
    families = {
        "SCMP_ARCH_X86_64": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "SCMP_ARCH_AARCH64": ["SCMP_ARCH_ARM"],
    }
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [
            {"architecture": architecture, "subArchitectures": subarchitectures}
            for architecture, subarchitectures in families.items()
        ],
        "syscalls": [{"names": list(REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": NOT_PERMITTED}],
    }


@contextmanager
def profile_file() -> Iterator[str]:
    """Yield the path of the profile: the docker command reads it itself."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="cvl-ci-seccomp-") as file:
        json.dump(profile(), file)
        file.flush()
        yield file.name
