# cvl-ci on the machine, after a job whose machine waits for another run: nothing of the job may be left. Any part that
# stays is an error, and the machine is not used again. Caches of downloads stay (~/.cache), as do Docker images, and all
# that a job changed as root outside of the places below.
set -u
birth="$HOME/.cvl-ci-birth"
refuse() { echo "$1" >&2; exit 1; }
[ -e "$birth/whole" ] || refuse "its files at the beginning are not known"
cd "$HOME" || refuse "its home folder is gone"
as_root=""
[ "$(id -u)" = 0 ] || { sudo -n true 2> /dev/null && as_root="sudo -n"; }

# Processes: each of a job has this variable. SkyPilot's own have not.
of_jobs() { $as_root grep -lzs '^CVL_CI_LEASE=' /proc/[0-9]*/environ | cut -d/ -f3; }
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left="$(of_jobs)"
  [ -n "$left" ] || break
  # shellcheck disable=SC2086  one word for each process
  $as_root kill -9 $left 2> /dev/null
  sleep 0.3
done
[ -z "$(of_jobs)" ] || refuse "processes of its job do not end"
crontab -r 2> /dev/null

# Containers with their volumes, where an engine runs. One that starts with its first client is not started for this.
for process in /proc/[0-9]*/comm; do
  [ "$(cat "$process" 2> /dev/null)" = dockerd ] || continue
  docker() { timeout 60 $as_root docker "$@"; }
  type timeout > /dev/null || refuse "it has no timeout"
  left="$(docker ps --all --quiet)" || refuse "its Docker does not answer"
  # shellcheck disable=SC2086  one word for each container
  [ -z "$left" ] || docker rm --force --volumes $left > /dev/null 2>&1
  left="$(docker ps --all --quiet)" || refuse "its Docker does not answer"
  [ -z "$left" ] || refuse "a container of its job does not end"
  left="$(docker volume ls --quiet)" || refuse "its Docker does not answer"
  # shellcheck disable=SC2086  one word for each volume
  [ -z "$left" ] || docker volume rm --force $left > /dev/null 2>&1
  docker network prune --force > /dev/null 2>&1
  break
done

# Memory of the GPUs, which a process holds.
if command -v nvidia-smi > /dev/null; then
  used="$(timeout 20 nvidia-smi --query-compute-apps=pid --format=csv,noheader)" || refuse "nvidia-smi does not answer"
  [ -z "$used" ] || refuse "a process still uses a GPU"
fi

# SkyPilot's scripts hold the secrets of their job.
$as_root find .cvl-ci sky_workdir sky_logs .sky/sky_app -mindepth 1 -delete 2> /dev/null
$as_root find .cvl-ci sky_workdir sky_logs .sky/sky_app -mindepth 1 -print -quit 2> /dev/null | grep -q . \
  && refuse "files of its job cannot be removed"

# The home folder, name by name: what is new goes, and small files come back as they were.
while IFS= read -r -d '' name; do
  case "$name" in ./.cache | ./.cvl-ci | ./.cvl-ci-birth | ./sky_workdir | ./sky_logs) continue ;; esac
  grep -qzxF -- "$name" "$birth/names" || $as_root rm -rf -- "$name" || refuse "$name cannot be removed"
done < <(find . -mindepth 1 -maxdepth 1 -print0)
while IFS= read -r -d '' name; do
  case "$name" in
    ./.cache/huggingface | ./.cache/torch | ./.cache/pip | ./.cache/uv | ./.cache/modelscope | ./.cache/cvlization) ;;
    *) $as_root rm -rf -- "$name" || refuse "$name cannot be removed" ;;
  esac
done < <(find ./.cache -mindepth 1 -maxdepth 1 -print0 2> /dev/null)
while IFS= read -r -d '' name; do # its token is a secret
  case "$name" in
    ./.cache/huggingface/hub | ./.cache/huggingface/datasets | ./.cache/huggingface/xet) ;;
    *) $as_root rm -rf -- "$name" || refuse "$name cannot be removed" ;;
  esac
done < <(find ./.cache/huggingface -mindepth 1 -maxdepth 1 -print0 2> /dev/null)
$as_root find . -mindepth 1 -maxdepth 3 \( -path ./.cvl-ci -o -path ./.cvl-ci-birth -o -path ./.sky -o -path ./.cache \
  -o -path ./.local \) -prune -o -path './.*' -type f -cnewer "$birth/whole" -delete 2> /dev/null
$as_root find ./.local -type f -not -name '*.pyc' -cnewer "$birth/whole" -delete 2> /dev/null
tar -xf "$birth/small.tar" || refuse "its small files do not come back"

# Folders for all users. Ray and SkyPilot have files there, which belong to no job.
$as_root find /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1 -cnewer "$birth/whole" -not -name 'ray*' \
  -not -name 'sky_ssh*' -not -name 'skylet*' -not -name 'plasma*' -not -name 'systemd-private*' -not -name '.*-unix' \
  -exec rm -rf -- {} + 2> /dev/null
$as_root find /tmp -maxdepth 1 \( -name 'sky_setup_*' -o -name 'sky_app_*' -o -name 'sky_task_*' \) -delete 2> /dev/null

full="$(df --output=pcent "$HOME" 2> /dev/null | tail -n 1 | tr -dc 0-9)"
[ "${full:-0}" -lt 90 ] || refuse "its disk is $full % full"
echo "cvl-ci: nothing of the jobs before is left"
