# cvl-ci on the machine: the run's process goes away, so a program outside of the job's shell stores the results.
mkdir -p "$cvl_ci_state/detached"
cvl_ci_detached() {
  cvl_ci_last+=(cvl_ci_detached_over)
  # Its lines wait in a file: the job's log would stay open as long as another process writes to it.
  (setsid nice -n 19 "$cvl_ci_python" -I "$cvl_ci_state/detached/detached.py" "$cvl_ci_state" $$ \
    < /dev/null > "$cvl_ci_state/detached/log" 2>&1 &)
}
# The last act of the job's shell: everything that belongs to the job is written.
cvl_ci_detached_over() { : > "$cvl_ci_state/detached/over"; }
