# cvl-ci on the machine: the run's process goes away, so a program outside of the job's shell stores the results.
cvl_ci_results=(
  "${cvl_ci_own[@]}" "$cvl_ci_python" -I -c
  'import sys; sys.path.insert(0, sys.argv.pop(1)); import detached; detached.main(*sys.argv[1:])'
  "$cvl_ci_state/detached"
)
# A place that refuses the results ends the run while somebody still waits for it.
if [ ! -e "$cvl_ci_state/detached/tried" ]; then
  if ! "${cvl_ci_results[@]}" try "$cvl_ci_state"; then
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
# The last act of the job's shell: everything that belongs to the job is written.
cvl_ci_detached_over() { : > "$cvl_ci_state/detached/over"; }
