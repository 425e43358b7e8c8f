# cvl-ci on the machine, after a job whose machine waits for another run: nothing of the job may be left. Any part that
# stays, or that gives no answer, is an error, and the machine is not used again. Caches of downloads stay (~/.cache), as do
# Docker images, and all that a job changed as root outside of the places below.
set -uo pipefail
umask 077
export LC_ALL=C # one order of names
birth="$HOME/.cvl-ci-birth"
refuse() { echo "$1" >&2; exit 1; }
[ -f "$birth/whole" ] && [ -s "$birth/mounts" ] && [ ! -L "$birth" ] || refuse "its files at the beginning are not known"
cd -P "$HOME" || refuse "its home folder is gone"
for tool in comm cut find grep sort tar timeout truncate xargs; do
  type "$tool" > /dev/null 2>&1 || refuse "it has no $tool"
done
as_root=""
if [ "$(id -u)" != 0 ]; then
  if sudo -n true 2> /dev/null; then as_root="sudo -n"; fi
  [ -n "$as_root" ] || [ ! -e "$birth/root" ] || refuse "it does not let cvl-ci act as root any more"
fi

# Processes: each of a job has this variable. SkyPilot's own have not. A search that does not see this one saw nothing.
CVL_CI_LEASE=cvl-ci-clean SSH_CONNECTION=cvl-ci-clean sleep 600 < /dev/null > /dev/null 2>&1 &
seen=$!
trap 'kill "$seen" 2> /dev/null' EXIT
find_jobs() {
  local found
  found="$($as_root grep -lzs '^CVL_CI_LEASE=' /proc/[0-9]*/environ | cut -d / -f 3)"
  left="$(grep -vx "$seen" <<< "$found")"
  grep -qx "$seen" <<< "$found"
}
left=""
for _ in 1 2 3 4 5 6 7 8 9 10; do
  if find_jobs; then
    [ -n "$left" ] || break
    # shellcheck disable=SC2086  one word for each process
    $as_root kill -9 $left 2> /dev/null
  fi
  sleep 0.3
done
find_jobs || refuse "its processes cannot be seen"
[ -z "$left" ] || refuse "processes of its job do not end"

# Logins by ssh. A job can log in to its own machine, and such a session has no variable of it. sshd gives each session the
# addresses of its connection. SkyPilot's own processes have those of a login before the first job.
[ -e "$birth/connections" ] || refuse "its logins at the beginning are not known"
declare -A parent_of name_of own
see_processes() {
  local status process key value
  parent_of=() name_of=()
  for status in /proc/[0-9]*/status; do
    process="${status#/proc/}" process="${process%/status}"
    while read -r key value; do
      case "$key" in
        Name:) name_of[$process]="$value" ;;
        PPid:) parent_of[$process]="$value" && break ;;
      esac
    done 2> /dev/null < "$status"
  done
  [ -n "${parent_of[$$]:-}" ]
}
is_sshd() { case "${name_of[$1]:-}" in sshd | sshd-session) true ;; *) false ;; esac }
find_sessions() { # the sshd of each session but this one, and what runs below it
  local process above
  left=""
  see_processes || return 1
  own=()
  for ((process = $$; process > 1; process = ${parent_of[$process]:-0})); do own[$process]=1; done
  for process in "${!parent_of[@]}"; do
    for ((above = process; above > 1; above = ${parent_of[$above]:-0})); do
      [ -z "${own[$above]:-}" ] || break
      if is_sshd "$above" && is_sshd "${parent_of[$above]:-0}"; then
        left="$left $process"
        break
      fi
    done
  done
}
find_logins() { # processes of another login that run on without its session
  local entry process is_seen=""
  left=""
  while IFS= read -r -d '' entry; do
    process="${entry#/proc/}" process="${process%%/*}" entry="${entry#*:}"
    if [ "$process" = "$seen" ]; then is_seen=1 && continue; fi
    [ "$entry" != "SSH_CONNECTION=${SSH_CONNECTION:-}" ] || continue
    grep -qzxF -- "$entry" "$birth/connections" || left="$left $process"
  done < <(cvl_ci_connections "$as_root")
  [ -n "$is_seen" ]
}
end_found() { # the function that finds them. It leaves in `left` what the last look found, and in `again` what was not new
  local process ended=" "
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    again=""
    "$1" || refuse "its logins cannot be seen"
    [ -n "$left" ] || return 0
    for process in $left; do
      case "$ended" in *" $process "*) again="$again $process" ;; *) ended="$ended$process " ;; esac
    done
    # shellcheck disable=SC2086  one word for each process
    $as_root kill -9 $left 2> /dev/null
    sleep 0.3
  done
}
end_found find_sessions # strangers knock at all times, so only a session that stays is one of the job
[ -z "$again" ] || refuse "a login of its job does not end"
end_found find_logins
[ -z "$left" ] || refuse "processes of a login of its job do not end"

# What cron, at and systemd start is not a child of the job, and may have no variable.
crontab -r 2> /dev/null
for folder in /var/spool/cron /var/spool/at /etc/cron.d; do
  [ -d "$folder" ] || continue
  left="$($as_root find "$folder" -type f -cnewer "$birth/whole" -print -quit)" || refuse "$folder gives no answer"
  [ -z "$left" ] || refuse "a command that its job scheduled is left: $left"
done
find_scheduled() {
  local process name
  for process in /proc/[0-9]*; do
    read -r name 2> /dev/null < "$process/comm" || continue
    case "$name" in
      cron | crond | atd) left="$(cat "$process/task/${process##*/}/children")" || return 1; [ -z "$left" ] || return 0 ;;
    esac
  done
  left=""
}
for _ in 1 2 3 4 5 6 7 8 9 10; do
  find_scheduled || refuse "cron gives no answer"
  [ -n "$left" ] || break
  sleep 0.3
done
[ -z "$left" ] || refuse "a scheduled command runs"
cvl_ci_units > "$birth/units-now" || refuse "systemd does not answer"
left="$(comm -13 "$birth/units" "$birth/units-now")" || refuse "its units are not known"
[ -z "$left" ] || refuse "a unit of its job is left: $(head -n 1 <<< "$left")"

# Behind a mount are files of somebody else. With one in a place below, nothing at all is removed.
placed=()
if [ -e "$birth/placed" ]; then mapfile -d '' -t placed < "$birth/placed" || refuse "its mounts are not known"; fi
cvl_ci_mounts_now > "$birth/mounts-now" && [ -s "$birth/mounts-now" ] || refuse "its mounts are not known"
left="$(comm -13 "$birth/mounts" "$birth/mounts-now")" || refuse "its mounts are not known"
while IFS=' ' read -r _ mount _; do
  mount="$(printf '%b' "$mount")"
  [ -n "$mount" ] && [ "$mount" != / ] || continue
  for place in "$PWD" /tmp /var/tmp /dev/shm "${placed[@]}"; do
    case "$mount/" in "$place/"*) refuse "a mount of its job is left: $mount" ;; esac
    case "$place/" in "$mount/"*) refuse "a mount of its job is left: $mount" ;; esac
  done
done <<< "$left"
for name in .cache .cache/huggingface .cvl-ci .local .sky .sky/sky_app sky_logs sky_workdir; do
  [ ! -L "$name" ] || refuse "its job made a link of ~/$name"
done
remove() { $as_root rm -rf --one-file-system --preserve-root=all -- "$@"; }
remove_all() { # what is in the list `found`, the folders after what is in them
  sort -rz -o "$birth/found" "$birth/found" || refuse "$1 cannot be listed"
  xargs -0r $as_root rm -rf --one-file-system --preserve-root=all -- < "$birth/found" || refuse "$1 cannot be removed"
}
# Remove what `find` names, and see that it names nothing any more. Arguments: what it is, and the arguments of `find`.
remove_found() {
  local what="$1"
  shift
  $as_root find "$@" -print0 > "$birth/found" || refuse "$what cannot be listed"
  remove_all "$what"
  left="$($as_root find "$@" -print -quit)" || refuse "$what cannot be listed"
  [ -z "$left" ] || refuse "$what cannot be removed"
}

# Containers with their volumes, where an engine runs. One that starts with its first client is not started for this.
for process in /proc/[0-9]*/comm; do
  [ "$(cat "$process" 2> /dev/null)" = dockerd ] || continue
  docker() { timeout 60 $as_root docker "$@"; }
  left="$(docker volume ls --format '{{.Driver}}')" || refuse "its Docker does not answer"
  [ -z "$(grep -vx local <<< "$left" | grep .)" ] || refuse "a Docker volume of its job is not on this machine"
  left="$(docker ps --all --quiet)" || refuse "its Docker does not answer"
  # shellcheck disable=SC2086  one word for each container
  [ -z "$left" ] || docker rm --force --volumes $left > /dev/null 2>&1
  left="$(docker ps --all --quiet)" || refuse "its Docker does not answer"
  [ -z "$left" ] || refuse "a container of its job does not end"
  left="$(docker volume ls --quiet)" || refuse "its Docker does not answer"
  # shellcheck disable=SC2086  one word for each volume
  [ -z "$left" ] || docker volume rm --force $left > /dev/null 2>&1
  left="$(docker volume ls --quiet)" || refuse "its Docker does not answer"
  [ -z "$left" ] || refuse "a Docker volume of its job cannot be removed"
  docker network prune --force > /dev/null 2>&1 || refuse "a Docker network of its job cannot be removed"
  break
done

# Memory of the GPUs, which a process holds.
if command -v nvidia-smi > /dev/null; then
  used="$(timeout 20 nvidia-smi --query-compute-apps=pid --format=csv,noheader)" || refuse "nvidia-smi does not answer"
  [ -z "$used" ] || refuse "a process still uses a GPU"
fi

# Places of copied mounts, which were not there, or empty, before the first one.
for place in "${placed[@]}"; do
  remove "$place" || refuse "$place cannot be removed"
done
rm -f "$birth/placed" || refuse "its mounts cannot be forgotten"

# SkyPilot's scripts hold the secrets of their job.
for folder in .cvl-ci sky_workdir sky_logs .sky/sky_app; do
  [ ! -d "$folder" ] || remove_found "a file of ~/$folder" "$folder" -mindepth 1 -maxdepth 1
done

# The home folder, name by name: what is new goes, and small files come back as they were. A link in the place of a folder
# is new.
find . -mindepth 1 -maxdepth 1 -printf '%y %p\0' > "$birth/names-now" || refuse "its home folder cannot be listed"
while IFS= read -r -d '' kind_and_name; do
  name="${kind_and_name#* }"
  case "$name" in ./.cache | ./.cvl-ci | ./.cvl-ci-birth | ./sky_workdir | ./sky_logs) continue ;; esac
  grep -qzxF -- "$kind_and_name" "$birth/names" || remove "$name" || refuse "$name cannot be removed"
done < "$birth/names-now"
# A token of Hugging Face is a secret; what was downloaded is none.
if [ -d .cache ]; then
  remove_found "a file of ~/.cache" .cache -mindepth 1 -maxdepth 1 ! \( -type d \( -name huggingface -o -name torch \
    -o -name pip -o -name uv -o -name modelscope -o -name cvlization \) \)
fi
if [ -d .cache/huggingface ]; then
  remove_found "a file of Hugging Face" .cache/huggingface -mindepth 1 -maxdepth 1 \
    ! \( -type d \( -name hub -o -name datasets -o -name xet \) \)
fi
of_login=(. -xdev -mindepth 1 \( -path ./.cvl-ci -o -path ./.cvl-ci-birth -o -path ./.sky -o -path ./.cache
  -o -path ./.local \) -prune -o -path './.*' ! -type d -cnewer "$birth/whole")
$as_root find "${of_login[@]}" -print0 > "$birth/found" || refuse "files with a dot cannot be listed"
sort -z -o "$birth/found" "$birth/found" || refuse "files with a dot cannot be listed"
left="$(comm -z -12 "$birth/large" "$birth/found" | tr '\0' '\n' | head -n 1)" || refuse "files with a dot are not known"
[ -z "$left" ] || refuse "its job changed $left"
remove_found "a file with a dot" "${of_login[@]}"
if [ -d .local ]; then
  remove_found "a file of ~/.local" .local -xdev ! -type d ! -path '*/__pycache__/*' -cnewer "$birth/whole"
fi
tar -xf "$birth/small.tar" || refuse "its small files do not come back"

# Folders for all users, and what the jobs of SkyPilot printed.
cvl_ci_folders "$as_root" > "$birth/folders-now" || refuse "folders for all users cannot be listed"
comm -z -13 "$birth/folders" "$birth/folders-now" > "$birth/found" || refuse "folders for all users are not known"
remove_all "a folder for all users"
remove_found "a file for all users" "${cvl_ci_shared[@]}" "${cvl_ci_of_nobody[@]}" ! -type d -cnewer "$birth/whole"
remove_found "a script of SkyPilot" /tmp -maxdepth 1 \( -name 'sky_setup_*' -o -name 'sky_app_*' -o -name 'sky_task_*' \)
$as_root find /tmp -xdev -path '/tmp/ray*/session_*/logs/worker-*' -type f -exec truncate -s 0 {} + \
  || refuse "what its job printed cannot be removed"

full="$(df --output=pcent "$HOME" 2> /dev/null | tail -n 1 | tr -dc 0-9)"
[ -n "$full" ] || refuse "its disk does not tell how full it is"
[ "$full" -lt 90 ] || refuse "its disk is $full % full"
echo "cvl-ci: nothing of the jobs before is left"
