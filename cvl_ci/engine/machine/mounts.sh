# cvl-ci on the machine: put the folders from the runner at their places, check copies, and let containers see them.
cvl_ci_refuse_mount() { # fault, digest of the path, message
  echo "cvl-ci: $3"
  cvl_ci_end 74 0 mounts "$1 $2"
  exit 74
}

cvl_ci_is_free() { # target: a new or empty folder, or one within another mount of this job
  local place
  while IFS= read -r -d '' place; do
    case "$1/" in "$place/"*) return 0 ;; esac
  done < <(cat "$HOME/.cvl-ci-birth/placed" 2> /dev/null)
  [ ! -L "$1" ] || return 1
  [ -e "$1" ] || return 0
  [ -d "$1" ] && [ -z "$(ls -A "$1" 2>&1)" ]
}

# The job's user owns a mount: a folder below / needs root.
cvl_ci_place() { # digest, target
  [ ! -e "$cvl_ci_state/placed-$1" ] || return 0
  local from="$cvl_ci_root/.cvl-ci-mounts/$1" birth="$HOME/.cvl-ci-birth"
  # On a machine of several runs, each has its own copy: clean.sh removes this one. So nothing else may be there.
  if [ -e "$birth/whole" ]; then
    cvl_ci_is_free "$2" || cvl_ci_refuse_mount unmade "$1" "$2 has files of the machine, which another run would lose"
    printf '%s\0' "$2" >> "$birth/placed" || cvl_ci_refuse_mount unmade "$1" "$2 cannot be noted"
  fi
  mkdir -p "$from"
  { mkdir -p "$2" 2> /dev/null && [ -w "$2" ]; } \
    || { sudo -n mkdir -p "$2" && sudo -n chown "$(id -u):$(id -g)" "$2"; } \
    || cvl_ci_refuse_mount unmade "$1" "$2 cannot be made on this machine"
  cp -a "$from/." "$2/" || cvl_ci_refuse_mount incomplete "$1" "$2 did not get all of its files"
  : > "$cvl_ci_state/placed-$1"
}

# A cached bucket stands whole at a hidden path, and the wanted path leads to its prefix.
cvl_ci_link() { # digest, prefix, target
  [ ! -L "$3" ] || return 0
  local parent
  parent="$(dirname "$3")"
  mkdir -p "$2" && { { mkdir -p "$parent" && ln -s "$2" "$3"; } 2> /dev/null \
    || { sudo -n mkdir -p "$parent" && sudo -n ln -s "$2" "$3"; }; } \
    || cvl_ci_refuse_mount unmade "$1" "$3 cannot lead to its bucket"
}

cvl_ci_check() { # digest, address, target
  local left answer=0
  [ ! -e "$cvl_ci_state/checked-$1" ] || return 0
  left="$(cvl_ci_seconds_left)"
  timeout -k 5 "$((left > 1 ? left : 1))" "${cvl_ci_own[@]}" "$cvl_ci_python" "$cvl_ci_state/check_copy.py" "$2" "$3" \
    || answer=$?
  [ "$answer" != 1 ] || cvl_ci_refuse_mount different "$1" "$3 is not the same as $2"
  [ "$answer" = 0 ] || cvl_ci_refuse_mount unproved "$1" "$3 is not proved to be the same as $2"
  : > "$cvl_ci_state/checked-$1"
}

# Return whether all files that the job wrote to cached mounts are in their buckets. On each node, each mount has a log of
# its own, made before the job, to which rclone writes its state every ten seconds (SkyPilot 0.14.1, mounting_utils.py and
# task_codegen.py). Only a line after the job counts, and a missing log proves nothing.
cvl_ci_sent() { # most seconds, number of cached mounts
  local log line passed=0 unsent
  local -A before=() sent=()
  for log in "$HOME"/.sky/rclone_log/*; do
    if [ -f "$log" ]; then before[$log]="$(wc -l < "$log")"; fi
  done
  while :; do
    unsent=0
    for log in "$HOME"/.sky/rclone_log/*; do
      [ -f "$log" ] && [ -z "${sent[$log]:-}" ] || continue
      line="$(tail -n "+$((${before[$log]:-0} + 1))" "$log" | grep "vfs cache: cleaned:" | tail -n 1)"
      case "$line" in *"in use 0, to upload 0, uploading 0"*) sent[$log]=1 ;; *) unsent=1 ;; esac
    done
    [ "$unsent" = 1 ] || [ "${#sent[@]}" -lt "$2" ] || return 0
    [ "$passed" -lt "$1" ] || return 1
    sleep 2
    passed=$((passed + 2))
  done
}

# The job's own files leave for their buckets before its machine goes, whatever its end. SkyPilot waits without a limit, and
# for a job that succeeds alone.
cvl_ci_send_rest() { # exit code of the job
  local left
  [ -e "$cvl_ci_state/job-began" ] && [ ! -e "$cvl_ci_state/sent" ] || return 0
  : > "$cvl_ci_state/sent"
  left="$(cvl_ci_seconds_left)"
  [ "$1" = 0 ] || left=$((left < 600 ? left : 600))
  left=$((left > 30 ? left : 30)) # the release has minutes of its own
  cvl_ci_sent "$left" "$cvl_ci_cached" && return 0
  echo "cvl-ci: after $left s, the buckets are not proved to have all files of the cached mounts"
  return 1
}

# Every container that a script starts sees the mounts too, unless the script itself uses that path.
cvl_ci_mounted() {
  local docker bin="$cvl_ci_state/bin"
  [ "${#cvl_ci_mounts[@]}" -gt 0 ] || return 0
  docker="$(command -v docker || true)"
  [ -n "$docker" ] && [ "$docker" != "$bin/docker" ] || return 0
  mkdir -p "$bin"
  {
    printf '#!/bin/bash\nmounts=(%s)\ndocker=%q\n' "$(printf '%q ' "${cvl_ci_mounts[@]}")" "$docker"
    cat << 'CVL_CI_DOCKER'
words=("$@")
at=0
[ "${words[0]}" != container ] || at=1
case "${words[$at]}" in
  run | create)
    binds=()
    for mount in "${mounts[@]}"; do
      case " $* " in
        *"=$mount "* | *"=$mount,"* | *":$mount "* | *":$mount:"*) ;;
        *) binds+=(--mount "type=bind,src=$mount,dst=$mount") ;;
      esac
    done
    exec "$docker" "${words[@]:0:$((at + 1))}" "${binds[@]}" "${words[@]:$((at + 1))}"
    ;;
esac
exec "$docker" "${words[@]}"
CVL_CI_DOCKER
  } > "$bin/docker"
  chmod 755 "$bin/docker"
  export PATH="$bin:$PATH"
}
