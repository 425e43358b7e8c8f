# cvl-ci on the machine: the last checkpoint is back before the job's commands, and new ones go to their place meanwhile.
# The program that stores them stands outside of the job's shell, at the lowest priority of processor and disk.
cvl_ci_checkpoints=(
  "${cvl_ci_own[@]}" "$cvl_ci_python" -I -c
  'import sys; sys.path.insert(0, sys.argv.pop(1)); from checkpoints import main; main.main(*sys.argv[1:])'
  "$cvl_ci_state"
)
cvl_ci_places=("$cvl_ci_state" "$cvl_ci_root" "$CVL_WORK_DIR")
mkdir -p "$cvl_ci_state/sync"
if [ ! -e "$cvl_ci_state/restored" ]; then
  if ! "${cvl_ci_checkpoints[@]}" restore "${cvl_ci_places[@]}" "$cvl_ci_rank"; then
    cvl_ci_end 75 0 checkpoints
    exit 75
  fi
  : > "$cvl_ci_state/restored"
fi
if [ -e "$cvl_ci_state/resumed" ]; then
  CVL_RESUME_FROM="$(cat "$cvl_ci_state/resumed")"
  export CVL_RESUME_FROM
fi

cvl_ci_sync() {
  local lowest=(setsid nice -n 19)
  # Before all others: they may take the rest of the job's time.
  cvl_ci_last=(cvl_ci_sync_end "${cvl_ci_last[@]}")
  if command -v ionice > /dev/null; then lowest+=(ionice -c 3); fi
  # Its lines wait in a file: the job's log would stay open as long as another process writes to it.
  ("${lowest[@]}" "${cvl_ci_checkpoints[@]}" watch "${cvl_ci_places[@]}" "$cvl_ci_rank" "${SKYPILOT_NUM_NODES:-1}" $$ \
    < /dev/null > "$cvl_ci_state/sync/log" 2>&1 & echo $! > "$cvl_ci_state/sync/pid")
}

# The job is over: the last checkpoint has the rest of the job's time, at least some seconds, at most ten minutes.
cvl_ci_sync_end() {
  local pid left
  pid="$(cat "$cvl_ci_state/sync/pid" 2> /dev/null)" || return 0
  left="$(cvl_ci_seconds_left)"
  left=$((left < 20 ? 20 : left > 600 ? 600 : left))
  : > "$cvl_ci_state/sync/over"
  for ((left *= 5; left > 0; left--)); do
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.2
  done
  if kill -9 "$pid" 2> /dev/null; then
    echo "cvl-ci: the last checkpoint did not reach its place in time. The one before it is whole."
  fi
  rm -f "$cvl_ci_state/sync/pid"
  tail -n 20 "$cvl_ci_state/sync/log"
}
