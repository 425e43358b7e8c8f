# cvl-ci on the machine: what the job takes of the GPUs, in one small file that each look writes anew. Without a GPU it is
# not started. It says nothing, it fails nothing, and it is gone with the job's shell, whoever ends that.
cvl_ci_look_at_gpus() { # the shell it must not outlive, where to write
  local doing="" pause=1 looks=0 failed=0 memory=0 memory_total=0 busy=0 busiest=0 readings=0 gpus=0 driver="" name=""
  local used total use its_driver its_name state now look unread since="" last=0 least="${CVL_CI_IDLE%% *}" window="${CVL_CI_IDLE##* }"
  cvl_ci_doing() { # so that a signal ends what we wait for too
    "$@" &
    doing=$!
    wait "$doing"
  }
  trap '[ -z "$doing" ] || kill "$doing"; exit 0' TERM HUP INT
  while read -r _ _ state _ < "/proc/$1/stat" && [ "$state" != Z ] && [ "$failed" -lt 3 ]; do
    cvl_ci_doing timeout -k 1 10 nvidia-smi --format=csv,noheader,nounits \
      --query-gpu=memory.used,memory.total,utilization.gpu,driver_version,name > "$2/gpu.look"
    if [ $? -ne 0 ]; then failed=$((failed + 1)) since=""; else failed=0 looks=$((looks + 1)) gpus=0 look=0 unread=0; fi
    while [ "$failed" = 0 ] && IFS=, read -r used total use its_driver its_name; do
      used="${used// /}" total="${total// /}" use="${use// /}"
      case "$use" in '' | *[!0-9]*) unread=1 ;; *) look=$((use > look ? use : look)) ;; esac
      case "$used,$total" in ,* | *, | *[!0-9,]*) continue ;; esac # [N/A], as on a part of a GPU
      gpus=$((gpus + 1)) driver="${its_driver# }" name="${its_name# }"
      memory=$((used > memory ? used : memory)) memory_total=$((total > memory_total ? total : memory_total))
      case "$use" in '' | *[!0-9]*) continue ;; esac
      busy=$((busy + use)) busiest=$((use > busiest ? use : busiest)) readings=$((readings + 1))
    done < "$2/gpu.look"
    if [ "$gpus" -gt 0 ]; then
      printf 'gpus=%s\ngpu_memory=%s\ngpu_memory_total=%s\ngpu_busiest=%s\ngpu_busy=%s\ngpu_readings=%s\n' \
        "$gpus" "$memory" "$memory_total" "$busiest" "$busy" "$readings" > "$2/gpu.tmp"
      printf 'gpu_driver=%s\ngpu_name=%s\n' "$driver" "$name" >> "$2/gpu.tmp"
      mv "$2/gpu.tmp" "$2/gpu"
    fi
    if [ -n "$CVL_CI_IDLE" ] && [ "$failed" = 0 ] && [ ! -e "$2/gpu.idle" ]; then
      # Only a chain of samples of every GPU, without a gap, is evidence of a job that leaves them alone.
      read -r now _ < /proc/uptime
      now="${now%%.*}"
      if [ "$gpus" = 0 ] || [ "$unread" = 1 ] || [ "$look" -ge "$least" ] || [ $((now - last)) -gt 60 ]; then since=""; fi
      since="${since:-$now}" last="$now"
      if [ "$gpus" -gt 0 ] && [ "$unread" = 0 ] && [ "$look" -lt "$least" ] && [ $((now - since)) -ge "$window" ]; then
        : > "$2/gpu.idle"
      fi
    fi
    # A short job is looked at often, a long one seldom.
    [ "$looks" -lt 20 ] || pause=5
    cvl_ci_doing sleep "$pause"
  done
}
cvl_ci_stop_looking() { [ ! -e "$cvl_ci_state/gpu.pid" ] || kill "$(cat "$cvl_ci_state/gpu.pid")" 2> /dev/null; }
if command -v nvidia-smi > /dev/null; then
  # In a shell between, so that an interactive one (SkyPilot's is) says nothing of jobs, and in a program of its own, which
  # does not hold open what the shell keeps for itself.
  (bash -c "$(declare -f cvl_ci_look_at_gpus); cvl_ci_look_at_gpus \"\$@\"" cvl-ci $$ "$cvl_ci_state" \
    < /dev/null > /dev/null 2>&1 & echo $! > "$cvl_ci_state/gpu.pid")
  cvl_ci_last+=(cvl_ci_stop_looking)
fi
