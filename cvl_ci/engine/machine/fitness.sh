# cvl-ci on the machine: is it fit for the job? At most 20 seconds, before anything of the job runs. A probe without an end
# leaves no verdict, which counts as unknown.
cvl_ci_probe() { # before or further
  timeout -k 1 20 "$cvl_ci_python" -I -c \
    'import sys; sys.path.insert(0, sys.argv[1]); from fitness import main; main.main(*sys.argv[1:])' \
    "$cvl_ci_state" "$1" "$CVL_CI_GPUS" "$cvl_ci_rank" "${SKYPILOT_NODE_IPS:-${SKYPILOT_SETUP_NODE_IPS:-}}" < /dev/null > /dev/null 2>&1
}
if [ ! -e "$cvl_ci_state/probed" ]; then
  : > "$cvl_ci_state/probed"
  printf '%s\n' "$cvl_ci_python" > "$cvl_ci_state/python"
  cvl_ci_probe "$cvl_ci_moment"
  date +%s > "$cvl_ci_state/began" # the probe takes nothing of the job's time
  if [ -e "$cvl_ci_state/unfit" ]; then
    cvl_ci_end 75 0 preflight
    printf '%s\n' "$cvl_ci_unfit" # a job could write the verdict, and is not there yet to write this line
    exit 75
  fi
fi
