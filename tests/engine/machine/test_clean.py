"""What clean.sh removes from a machine after a job, and when it refuses the machine: real bash, in its own namespaces.

The folders of this computer that it cleans are empty file systems there, and it sees no process from outside.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import pytest

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.task import script
from cvl_ci.errors import EngineError
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.reuse import ReusePlan
from cvl_ci.ports import LaunchRequest

PLAN = RunPlan(
    title="x",
    work=WorkPlan(run_commands=("true",)),
    machines=MachinePlan(locations=(Location(cloud="aws"),), reuse=ReusePlan(key="trainer")),
)
MACHINE = """
set -u
for folder in /home /tmp /var/tmp /dev/shm /var/spool /mnt; do mount -t tmpfs machine "$folder" || exit 99; done
export HOME=/home/me
mkdir -p "$HOME/.ssh" "$HOME/.config/deep/er/still" /mnt/theirs
cd "$HOME"
echo theirs > /mnt/theirs/data
echo key > .ssh/authorized_keys
echo set > .config/deep/er/still/set
echo 'alias a=b' > .bashrc
ln -s /mnt/theirs .config/link
head -c 400000 /dev/zero > .config/large
"""
TICK = "\nsleep 0.05\n"
"""The clock of a file system counts in steps of the kernel."""


def clean(*, job: str, machine: str = "", before_clean: str = "", look: str = "") -> tuple[int, str]:
    """Run a job on a machine and clean it. Return the status of clean.sh, and all that was printed."""
    birth = "\n".join(script.birth(PLAN))
    text = f"""{MACHINE}{machine}
{birth}
{TICK}
cd "$HOME"
{job}
{TICK}
{before_clean}
cleaning() {{ {script.clean()}
}}
cleaning
code=$?
cd "$HOME"
{look}
exit $code
"""
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 99, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_machine_is_clean_after_a_job_that_left_files_everywhere() -> None:
    job = """
    for name in .ssh/id_ed25519 .aws/credentials .docker/config.json .config/a/b/c/d/e/token .netrc new/file \
        .cache/huggingface/token .cache/other/x .local/bin/tool /tmp/of-job /tmp/sub/deep/of-job /dev/shm/of-job \
        /var/tmp/of-job sky_workdir/a/b .cvl-ci/lease/command .sky/sky_app/sky_job; do
      mkdir -p "$(dirname "$name")"; echo secret > "$name"
    done
    ln -s /mnt/theirs .ssh/to-theirs; ln -s /mnt/theirs to-theirs
    mkdir -p .cache/huggingface/hub; echo model > .cache/huggingface/hub/model
    ln -s /mnt/theirs .cache/torch
    echo changed >> .bashrc; echo changed >> .config/deep/er/still/set; rm .ssh/authorized_keys
    mkdir -p /tmp/ray_skypilot/session_1/logs; echo secret > /tmp/ray_skypilot/session_1/logs/worker-1.out
    """
    machine = "mkdir -p /tmp/sub/deep"
    look = """
    grep -rlF -e secret -e changed /home /tmp /var/tmp /dev/shm
    find . ! -type d | grep -v -e cvl-ci-birth | sort
    cat .bashrc .config/deep/er/still/set .ssh/authorized_keys .config/link/data
    """
    code, said = clean(job=job, machine=machine, look=look)
    assert code == 0, said
    assert said.splitlines() == [
        script.CLEAN,
        "./.bashrc",
        "./.cache/huggingface/hub/model",
        "./.config/deep/er/still/set",
        "./.config/large",
        "./.config/link",
        "./.ssh/authorized_keys",
        "alias a=b",
        "set",
        "key",
        "theirs",
    ]


@pytest.mark.parametrize(
    "place",
    ["$HOME/data", "$HOME/sky_workdir/x", "$HOME/.cvl-ci/lease/work", "/tmp/x", "/dev/shm/x", "/var/tmp", "$HOME/a b"],
)
@pytest.mark.parametrize("how", ["-t tmpfs theirs", "--bind /mnt/theirs"])
def test_nothing_is_removed_while_a_mount_of_the_job_is_left(place: str, how: str) -> None:
    job = f'mkdir -p "{place}"; mount {how} "{place}"; echo theirs > "{place}/data"; echo of-job > other'
    code, said = clean(job=job, look=f'cat "{place}/data" other')
    assert code == 1, said
    assert "a mount of its job is left" in said
    assert said.splitlines()[:2] == ["theirs", "of-job"], said


def test_a_mount_that_the_machine_always_had_keeps_its_files() -> None:
    machine = 'mkdir -p "$HOME/disk"; mount -t tmpfs disk "$HOME/disk"; echo theirs > "$HOME/disk/data"'
    code, said = clean(job="echo x > new", machine=machine, look="cat disk/data; ls")
    assert (code, said.splitlines()) == (0, [script.CLEAN, "theirs", "disk"])


@pytest.mark.parametrize("name", [".cache", ".sky", ".local", "sky_workdir"])
def test_a_folder_that_became_a_link_is_not_followed(name: str) -> None:
    job = f"""
    mkdir -p /mnt/theirs/huggingface /mnt/theirs/sky_app; echo x > /mnt/theirs/huggingface/mine
    rm -rf {name}; ln -s /mnt/theirs {name}
    """
    code, said = clean(job=job, look="cat /mnt/theirs/data /mnt/theirs/huggingface/mine")
    assert code == 1 and f"a link of ~/{name}" in said
    assert said.splitlines()[:2] == ["theirs", "x"], said


def test_processes_of_the_job_end() -> None:
    job = "CVL_CI_LEASE=cvl-1-00000000 setsid sleep 987 > /dev/null 2>&1 &\ndisown -a"
    code, said = clean(job=job, look="grep -lzsx '98[7]' /proc/[0-9]*/cmdline | wc -l")
    assert (code, said.splitlines()) == (0, [script.CLEAN, "0"])


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("grep", "its processes cannot be seen"),
        ("cut", "its processes cannot be seen"),
        ("comm", "its units are not known"),
        ("find", "gives no answer"),
        ("xargs", "cannot be removed"),
        ("tar", "its small files do not come back"),
        ("df", "does not tell how full it is"),
        ("truncate", "what its job printed"),
    ],
)
def test_a_tool_that_gives_no_answer_is_no_clean_machine(broken: str, problem: str) -> None:
    job = "mkdir -p sky_workdir /tmp/ray_skypilot/session_1/logs; echo x > sky_workdir/x; echo x > .new"
    job += "; echo x > /tmp/ray_skypilot/session_1/logs/worker-1.out"
    before = f'mkdir /mnt/bin; printf "#!/bin/sh\\nexit 3\\n" > /mnt/bin/{broken}; chmod 755 /mnt/bin/{broken}'
    before += "; mkdir -p /var/spool/cron; PATH=/mnt/bin:$PATH"
    code, said = clean(job=job, before_clean=before)
    assert code == 1 and problem in said, said
    assert script.CLEAN not in said


def test_a_scheduled_command_of_the_job_is_not_left() -> None:
    code, said = clean(job="mkdir -p /var/spool/cron/crontabs; echo '* * * * * x' > /var/spool/cron/crontabs/other")
    assert code == 1 and "command that its job scheduled is left" in said


def test_what_runs_below_cron_is_not_left() -> None:
    job = """
    printf '#!/bin/bash\\nsleep 986 & wait\\n' > /mnt/cron; chmod 755 /mnt/cron
    env -i PATH="$PATH" setsid /mnt/cron > /dev/null 2>&1 &
    until grep -qx cron /proc/[0-9]*/comm; do sleep 0.05; done
    """
    code, said = clean(job=job)
    assert code == 1 and "a scheduled command runs" in said, said


SYSTEMCTL = """
mount -t tmpfs run /run; mkdir -p /run/systemd/system /mnt/bin
printf '#!/bin/sh\\ncat /mnt/units 2> /dev/null\\n' > /mnt/bin/systemctl; chmod 755 /mnt/bin/systemctl
PATH=/mnt/bin:$PATH
echo 'ssh.service loaded active running OpenSSH' > /mnt/units
"""


@pytest.mark.parametrize(
    ("unit", "is_left"),
    [("run-u12.service", True), ("run-u3.timer", True), ("session-4.scope", False), ("ssh.service", False)],
)
def test_a_unit_of_systemd_that_the_job_started_is_not_left(unit: str, *, is_left: bool) -> None:
    job = f"echo '{unit} loaded active running x' >> /mnt/units"
    code, said = clean(job=job, machine=SYSTEMCTL)
    assert code == (1 if is_left else 0), said
    assert (f"a unit of its job is left: {unit}" in said) is is_left


def test_a_systemd_without_answer_is_no_clean_machine() -> None:
    code, said = clean(job="rm /mnt/units", machine=SYSTEMCTL)
    assert code == 1 and "systemd does not answer" in said


def test_a_large_file_that_cannot_come_back_is_not_lost() -> None:
    code, said = clean(job="echo x >> .config/large", look="ls .config/large")
    assert code == 1 and "its job changed ./.config/large" in said


def test_a_file_that_nobody_can_remove_ends_the_machine() -> None:
    job = 'mkdir -p sky_workdir; echo x > sky_workdir/x; mount --bind "$HOME/sky_workdir" "$HOME/sky_workdir"'
    code, said = clean(job=f'{job}; sed -i "/sky_workdir/d" .cvl-ci-birth/mounts')
    assert code == 1, said


def test_copied_mounts_go_and_files_of_the_machine_are_no_target() -> None:
    place = resources.files("cvl_ci.engine").joinpath("machine/mounts.sh").read_text()
    prepared = f"""
    cvl_ci_state=$HOME/.cvl-ci/lease cvl_ci_root=$HOME/sky_workdir
    mkdir -p "$cvl_ci_state" "$cvl_ci_root/.cvl-ci-mounts/d1/sub"; echo copy > "$cvl_ci_root/.cvl-ci-mounts/d1/sub/x"
    {place}
    cvl_ci_refuse_mount() {{ echo "$3"; return 1; }}
    """
    job = f"{prepared}cvl_ci_place d1 /mnt/data; cvl_ci_place d2 /mnt/data/inner; ls /mnt/data"
    code, said = clean(job=job, look="ls /mnt")
    assert (code, said.splitlines()) == (0, ["inner", "sub", script.CLEAN, "theirs"])
    _, said = clean(job=f"{prepared}cvl_ci_place d1 /mnt/theirs", look="cat /mnt/theirs/data")
    assert "/mnt/theirs has files of the machine" in said


@dataclass
class Answers:
    """A session whose worker has these answers of the nodes."""

    answers: list[dict[str, object]]

    def worker(self) -> Answers:
        return self

    def call(self, verb: str, **_: object) -> list[dict[str, object]]:
        assert verb == "ask_nodes"
        return self.answers


CLEAN_NODE: dict[str, object] = {"code": 0, "out": f"Welcome\n{script.CLEAN}\n", "err": ""}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([], "0 of 2 nodes"),
        ([CLEAN_NODE], "1 of 2 nodes"),
        ([CLEAN_NODE, {**CLEAN_NODE, "out": ""}], "Node 1 is not clean"),
        ([CLEAN_NODE, {**CLEAN_NODE, "code": 255, "err": "ssh broke"}], "Node 1 is not clean after its job: ssh broke"),
        ([CLEAN_NODE, CLEAN_NODE], ""),
    ],
)
def test_each_node_tells_that_it_is_clean(answers: list[dict[str, object]], problem: str, tmp_path: Path) -> None:
    machines = SkyPilotMachines(Answers(answers))  # type: ignore[arg-type]
    two = replace(PLAN, machines=replace(PLAN.machines, num_nodes=2))
    machines._request = LaunchRequest(
        plan=two, cluster="cvl-1-00000000", labels={}, staged=tmp_path, deadline=0.0, fence=tmp_path / "fence"
    )
    if not problem:
        machines.clean("cvl-1-00000000")
        return
    with pytest.raises(EngineError, match=problem):
        machines.clean("cvl-1-00000000")


SSHD = """
cp "$(command -v bash)" /mnt/sshd
/mnt/sshd -c 'sleep 3600 & mkfifo /mnt/next; while :; do eval "$(cat /mnt/next)"; done' 2> /dev/null &
until [ -p /mnt/next ]; do sleep 0.05; done
login() { # its connection, and its command
  printf '%s\\n' "SSH_CONNECTION='$1' /mnt/sshd -c '$2; sleep 3600' &" > /mnt/next
}
alive() { grep -lzsx -- "${1%?}[${1#??}]" /proc/[0-9]*/cmdline | wc -l; } # the pattern does not match its own words
login "10.0.0.1 50000 10.0.0.2 22" "sleep 901"
until [ "$(alive 901)" = 1 ]; do sleep 0.05; done
"""
"""A listener whose children are sessions, as those of sshd: a shell by its name. One session is older than the job."""


def test_a_login_that_the_last_job_left_ends_with_all_that_it_began() -> None:
    """A job has the machine's own key pair, so it can log in to it. Nothing there has the variable of the job."""
    job = """
    login "127.0.0.1 40000 127.0.0.1 22" "sleep 902 & setsid sleep 903 & disown -a"
    login "127.0.0.1 40001 127.0.0.1 22" "true"
    SSH_CONNECTION="127.0.0.1 40002 127.0.0.1 22" setsid sleep 904 > /dev/null 2>&1 &
    disown -a
    for each in 902 903 904; do until [ "$(alive $each)" = 1 ]; do sleep 0.05; done; done
    """
    look = "echo $(alive 902) $(alive 903) $(alive 904) $(pgrep -cx sshd)"
    code, said = clean(job=job, machine=SSHD, look=look)
    assert (code, said.splitlines()) == (0, [script.CLEAN, "0 0 0 1"]), "only sshd itself is left"


def test_processes_of_skypilot_from_a_login_before_the_first_job_live_on() -> None:
    machine = 'SSH_CONNECTION="10.0.0.1 50000 10.0.0.2 22" setsid sleep 905 > /dev/null 2>&1 &'
    job = 'SSH_CONNECTION="10.0.0.1 50000 10.0.0.2 22" setsid sleep 906 > /dev/null 2>&1 &'
    look = "grep -lzsx '90[56]' /proc/[0-9]*/cmdline | wc -l; pkill -x sleep"
    code, said = clean(job=f"{job}\ndisown -a", machine=f"{machine}\ndisown -a", look=look)
    assert (code, said.splitlines()) == (0, [script.CLEAN, "2"])


def test_the_login_by_which_the_machine_is_cleaned_lives_on() -> None:
    job = f"cat > /mnt/clean << 'END_OF_CLEAN'\n{script.clean()}\nEND_OF_CLEAN"
    look = """
    login "10.0.0.9 60000 10.0.0.2 22" "bash /mnt/clean > /mnt/said 2> /mnt/e; echo through >> /mnt/said; sleep 907"
    until [ "$(alive 907)" = 1 ]; do sleep 0.05; done
    cat /mnt/said
    """
    code, said = clean(job=job, machine=SSHD, look=look)
    assert (code, said.splitlines()[-2:]) == (0, [script.CLEAN, "through"]), said


def test_a_machine_whose_logins_were_not_noted_is_refused() -> None:
    code, said = clean(job="rm .cvl-ci-birth/connections")
    assert code == 1 and "logins at the beginning are not known" in said


GPU = """
mkdir -p /mnt/bin
printf '#!/bin/sh\\n%s\\n' '{text}' > /mnt/bin/nvidia-smi; chmod 755 /mnt/bin/nvidia-smi; PATH=/mnt/bin:$PATH
"""
"""A scripted nvidia-smi. It names the processes that hold memory of a GPU."""
HOLDERS = "grep -lzsx 90[8] /proc/[0-9]*/cmdline | cut -d / -f 3"


def test_memory_of_a_gpu_is_free_when_the_job_s_process_has_ended() -> None:
    job = "CVL_CI_LEASE=cvl-1-00000000 setsid sleep 908 > /dev/null 2>&1 &\ndisown -a\n"
    job += "until nvidia-smi > was-held && [ -s was-held ]; do sleep 0.05; done"
    code, said = clean(job=job + "; echo held", machine=GPU.format(text=HOLDERS))
    assert (code, said.splitlines()) == (0, ["held", script.CLEAN])


@pytest.mark.parametrize(
    ("text", "problem"),
    [("echo 4711", "a process still uses a GPU"), ("exit 9", "nvidia-smi does not answer")],
)
def test_a_gpu_in_use_or_without_an_answer_is_no_clean_machine(text: str, problem: str) -> None:
    code, said = clean(job="true", machine=GPU.format(text=text))
    assert code == 1 and problem in said and script.CLEAN not in said


DOCKER = """
mkdir -p /mnt/bin /mnt/docker
cp "$(command -v sleep)" /mnt/bin/dockerd; /mnt/bin/dockerd 3600 &
disown -a
cat > /mnt/bin/docker << 'END_OF_DOCKER'
#!/bin/sh
cd /mnt/docker
case "$*" in
  "volume ls --format"*) [ ! -e volume ] || cat driver ;;
  "volume ls --quiet") [ ! -e volume ] || echo v1 ;;
  "ps --all --quiet") [ ! -e container ] || echo c1 ;;
  "rm --force --volumes c1") rm container ;;
  "volume rm --force v1") rm volume ;;
  "network prune --force") rm -f network ;;
  *) exit 64 ;;
esac
END_OF_DOCKER
chmod 755 /mnt/bin/docker; PATH=/mnt/bin:$PATH
"""
"""A scripted Docker whose containers, volumes and networks are files."""


@pytest.mark.parametrize(
    ("job", "code", "problem"),
    [
        ("touch container volume network; echo local > driver", 0, script.CLEAN),
        ("touch volume; echo nfs > driver", 1, "a Docker volume of its job is not on this machine"),
        ("mkdir container", 1, "a container of its job does not end"),
        ("mkdir volume; echo local > driver", 1, "a Docker volume of its job cannot be removed"),
    ],
)
def test_containers_of_the_job_go_with_their_volumes(job: str, code: int, problem: str) -> None:
    look = "ls /mnt/docker | grep -vx driver; pkill dockerd"
    done, said = clean(job=f"(cd /mnt/docker; {job})", machine=DOCKER, look=look)
    assert (done, problem in said) == (code, True), said
    if not code:
        assert said.splitlines() == [script.CLEAN]
