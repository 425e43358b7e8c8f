# cvl-ci on a replica: the controller of `sky serve` launches it, and may do so after the end of its service.
if [ "$(date +%s)" -ge "$CVL_CI_DEADLINE" ]; then
  echo "cvl-ci: the service is over, so this replica ends"
  exit 124
fi
# No timer of cvl-ci starts at its boot, so one starts here. The controller has some minutes to end it before that.
setsid bash -c 'trap "" HUP INT TERM
  while [ "$(date +%s)" -lt "$1" ]; do sleep 15; done
  while :; do sudo -n systemctl poweroff --force || sudo -n shutdown -P now || sudo -n poweroff -f; sleep 20; done
' cvl-ci "$((CVL_CI_DEADLINE + @SECONDS@))" < /dev/null > /dev/null 2>&1 &
