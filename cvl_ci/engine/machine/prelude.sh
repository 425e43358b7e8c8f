# cvl-ci on the machine: what the field's examples expect to find, a hard time limit, and the job's own exit code.
cvl_ci_state="$HOME/.cvl-ci/$CVL_CI_LEASE"
cvl_ci_rank="${SKYPILOT_NODE_RANK:-${SKYPILOT_SETUP_NODE_RANK:-0}}"
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
cvl_ci_shell() { bash -c "$1"; }
# Whoever may write to its socket is let in: that is seen without an engine, which maybe starts with its first client.
if command -v docker > /dev/null && [ ! -w /var/run/docker.sock ] && ! docker info > /dev/null 2>&1 \
  && sudo -n true 2> /dev/null; then
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    sudo -n docker info > /dev/null 2>&1 && break
    sleep 1
  done
  if ! docker info > /dev/null 2>&1 && sudo -n docker info > /dev/null 2>&1; then
    sudo -n usermod -aG docker "$(id -un)"
    cvl_ci_shell() { sg docker -c "bash -c $(printf '%q' "$1")"; }
  fi
fi
export -f cvl_ci_shell

# The first word is the last: a later failure of the same node does not overwrite why it ended.
cvl_ci_end() { # exit code, timed out (0|1), phase
  [ -e "$cvl_ci_state/end" ] && return
  printf 'exit_code=%s\ntimed_out=%s\nphase=%s\nended_ns=%s\n' "$1" "$2" "$3" "$(date +%s%N)" > "$cvl_ci_state/end.tmp"
  mv "$cvl_ci_state/end.tmp" "$cvl_ci_state/end"
}

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

cvl_ci_command() { # phase, shell text
  local left code started
  left="$(cvl_ci_seconds_left)"
  if [ "$left" -le 0 ]; then
    cvl_ci_end 124 1 "$1"
    exit 124
  fi
  started="$(date +%s)"
  cd "$cvl_ci_root/$CVL_CI_DIRECTORY" || { cvl_ci_end 127 0 "$1"; exit 127; }
  timeout -k 30 "$left" bash -c 'cvl_ci_shell "$1"' cvl-ci "$2" < /dev/null
  code=$?
  if [ "$code" -ne 0 ]; then
    if [ $(($(date +%s) - started)) -ge "$left" ]; then cvl_ci_end "$code" 1 "$1"; else cvl_ci_end "$code" 0 "$1"; fi
    exit "$code"
  fi
}
cvl_ci_root="$PWD"
