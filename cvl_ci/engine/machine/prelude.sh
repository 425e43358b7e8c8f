# cvl-ci on the machine: what the field's examples expect to find, a hard time limit, and the job's own exit code.
cvl_ci_state="$HOME/.cvl-ci/$CVL_CI_LEASE"
cvl_ci_rank="${SKYPILOT_NODE_RANK:-${SKYPILOT_SETUP_NODE_RANK:-0}}"
mkdir -p "$cvl_ci_state"
# A further job on the same machine goes on in the folder of the job before.
[ -z "$CVL_CI_WORK_OF" ] || [ -e "$cvl_ci_state/work" ] || ln -s "$HOME/.cvl-ci/$CVL_CI_WORK_OF/work" "$cvl_ci_state/work"
mkdir -p "$cvl_ci_state/work" "$HOME/.cache/huggingface/hub" "$HOME/.cache/huggingface/datasets" "$HOME/.cache/torch" \
  "$HOME/.cache/cvlization/models" "$HOME/.cache/cvlization/data" "$HOME/.cache/modelscope"
export CVL_WORK_DIR="${CVL_WORK_DIR:-$cvl_ci_state/work}"
mkdir -p "$CVL_WORK_DIR"
[ -e "$cvl_ci_state/began" ] || date +%s > "$cvl_ci_state/began"

# Scripts look for the repository's root with git; they only need it to answer.
if [ ! -e .git ] && command -v git > /dev/null; then git init -q . && : > "$cvl_ci_state/git-made"; fi

# The field's variable names for distributed training, one process a node unless the launcher says otherwise.
export NNODES="${SKYPILOT_NUM_NODES:-1}" NODE_RANK="$cvl_ci_rank" MASTER_PORT="${MASTER_PORT:-29500}"
MASTER_ADDR="$(printf '%s\n' "${SKYPILOT_NODE_IPS:-${SKYPILOT_SETUP_NODE_IPS:-127.0.0.1}}" | head -n 1)"
export MASTER_ADDR WORLD_SIZE="${WORLD_SIZE:-$NNODES}" RANK="${RANK:-$NODE_RANK}"

# On some clouds (Lambda, Nebius) the login user is not in the docker group, and a fresh login is not to be had.
cvl_ci_shell() { bash "$1"; }
# A user who may write to the socket is let in. That needs no engine, which may start with its first client.
# In a container that has no socket, no engine will start either: its image has the client alone.
if command -v docker > /dev/null && [ ! -w /var/run/docker.sock ] \
  && { [ -S /var/run/docker.sock ] || [ ! -e /.dockerenv ]; } \
  && ! timeout 20 docker info > /dev/null 2>&1 && sudo -n true 2> /dev/null; then
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    timeout 20 sudo -n docker info > /dev/null 2>&1 && break
    sleep 1
  done
  if ! timeout 20 docker info > /dev/null 2>&1 && timeout 20 sudo -n docker info > /dev/null 2>&1; then
    sudo -n usermod -aG docker "$(id -un)"
    cvl_ci_shell() { sg docker -c "bash $(printf '%q' "$1")"; }
  fi
fi
export -f cvl_ci_shell

# The first word is the last: a later failure of the same node does not overwrite why it ended.
cvl_ci_end() { # exit code, timed out (0|1), phase, the mount that failed
  [ -e "$cvl_ci_state/end" ] && return
  printf 'exit_code=%s\ntimed_out=%s\nphase=%s\nmount=%s\nended_ns=%s\n' "$1" "$2" "$3" "${4:-}" "$(date +%s%N)" \
    > "$cvl_ci_state/end.tmp"
  mv "$cvl_ci_state/end.tmp" "$cvl_ci_state/end"
}

# The functions that a node calls with the exit code when its script ends, whatever the end.
cvl_ci_last=()
cvl_ci_at_exit() {
  local code=$? act
  for act in "${cvl_ci_last[@]}"; do "$act" "$code"; done
  return "$code"
}
trap cvl_ci_at_exit EXIT

cvl_ci_seconds_left() {
  local now by_runtime by_deadline deadline="$CVL_CI_DEADLINE" armed
  # A dearer machine than was quoted ends sooner than its lease: the timer armed at its boot knows when.
  armed="$(cat /var/lib/cvl-ci/deadline 2> /dev/null)"
  case "$armed" in '' | *[!0-9]*) ;; *) deadline=$((armed < deadline ? armed : deadline)) ;; esac
  now="$(date +%s)"
  by_runtime=$(($(cat "$cvl_ci_state/began") + CVL_CI_MAX_SECONDS - now))
  by_deadline=$((deadline - CVL_CI_RESERVE_SECONDS - now))
  echo $((by_runtime < by_deadline ? by_runtime : by_deadline))
}

# SkyPilot's own Python: every machine that it sets up has one, whatever its image has.
cvl_ci_python="$(cat "${SKY_RUNTIME_DIR:-$HOME}/.sky/python_path" 2> /dev/null)"
[ -x "$cvl_ci_python" ] || cvl_ci_python="$(command -v python3 || true)"

# The command stands in a file, as SkyPilot's own does: an argument may have 128 KiB, and every process can read it.
cvl_ci_command() { # phase, shell text
  local left code
  left="$(cvl_ci_seconds_left)"
  if [ "$left" -le 0 ]; then
    cvl_ci_end 124 1 "$1"
    exit 124
  fi
  cd "$cvl_ci_root/$CVL_CI_DIRECTORY" || { cvl_ci_end 127 0 "$1"; exit 127; }
  (umask 077 && printf '%s\n' "$2" > "$cvl_ci_state/command") || { cvl_ci_end 126 0 "$1"; exit 126; }
  "$cvl_ci_python" -I "$cvl_ci_state/supervise.py" "$cvl_ci_state" "$cvl_ci_stream" "$left" \
    bash -c 'cvl_ci_shell "$1"' cvl-ci "$cvl_ci_state/command"
  code=$?
  if [ -e "$cvl_ci_state/limit" ]; then
    cvl_ci_end "$code" 1 "$1"
    exit "$code"
  elif [ -e "$cvl_ci_state/idle" ]; then
    cvl_ci_end "$code" 0 idle
    exit "$code"
  elif [ "$code" -ne 0 ]; then
    cvl_ci_end "$code" 0 "$1"
    exit "$code"
  fi
}
cvl_ci_root="$PWD"
