# cvl-ci on the machine: the run's process goes away, so a program outside of the job's shell stores the results.
cvl_ci_results=(
  "${cvl_ci_own[@]}" "$cvl_ci_python" -I -c
  'import sys; sys.path.insert(0, sys.argv.pop(1)); import detached; detached.main(*sys.argv[1:])'
  "$cvl_ci_state/detached"
)
# A place that refuses the results ends the run while somebody still waits for it.
if [ ! -e "$cvl_ci_state/detached/tried" ]; then
  cvl_ci_tried=0
  "${cvl_ci_results[@]}" try "$cvl_ci_state" || cvl_ci_tried=$?
  # An earlier machine of a managed job has stored the end: a second life of the job would only cost money.
  [ "$cvl_ci_tried" -ne 3 ] || exit 0
  if [ "$cvl_ci_tried" -ne 0 ]; then
    cvl_ci_end 75 0 results
    exit 75
  fi
  : > "$cvl_ci_state/detached/tried"
fi

cvl_ci_detached() {
  cvl_ci_last+=(cvl_ci_detached_over)
  # Its lines wait in a file: the job's log would stay open as long as another process writes to it.
  (cvl_ci_detached_secrets | setsid nice -n 19 "${cvl_ci_results[@]}" store "$cvl_ci_state" $$ \
    > "$cvl_ci_state/detached/log" 2>&1 &)
}
cvl_ci_detached_last() {
  local act others=()
  for act in "${cvl_ci_last[@]}"; do
    [ "$act" = cvl_ci_detached_over ] || others+=("$act")
  done
  cvl_ci_last=("${others[@]}" cvl_ci_detached_over)
}
# The last act of the job's shell: everything that belongs to the job is written.
cvl_ci_detached_over() {
  local own="$cvl_ci_state/detached" waited=0
  : > "$own/over"
  # The controller of a managed job takes the machine down as soon as this shell ends, so the results come first.
  [ -n "${cvl_ci_managed:-}" ] || return 0
  while [ ! -e "$own/finished" ]; do
    waited=$((waited + 1))
    # The program starts slowly, next to a job that may take all processors.
    [ -s "$own/pid" ] || [ "$waited" -lt 600 ] || break
    [ ! -s "$own/pid" ] || [ -d "/proc/$(cat "$own/pid")" ] || break
    sleep 1
  done
}
