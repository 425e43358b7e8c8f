#!/bin/sh
# cvl-ci: this machine ends itself at its deadline, without runner, credentials or SkyPilot. cloud-init runs this as root
# at every boot, before anybody can log in. The file `deadline` moves it: seconds since the epoch, root's to write.
# The file `set-up-end` is an earlier end, until the runner has set the machine up and removes it.
original=@DEADLINE@ seconds=@SECONDS@ set_up_end=@SET_UP_END@
state=/var/lib/cvl-ci
mkdir -p "$state"
chmod 755 "$state"
[ -s "$state/deadline" ] || { echo "$set_up_end" > "$state/set-up-end" && echo "$original" > "$state/deadline"; }
cat > "$state/timer" << TIMER
#!/bin/sh
original=$original seconds=$seconds state=$state
TIMER
cat >> "$state/timer" << 'TIMER'
trap '' HUP INT TERM
uptime() { cut -d. -f1 /proc/uptime; }
[ -s /run/cvl-ci-booted ] || uptime > /run/cvl-ci-booted
while :; do
  deadline="$(cat "$state/deadline" 2> /dev/null)"
  case "$deadline" in '' | *[!0-9]*) deadline=$original ;; esac
  early="$(cat "$state/set-up-end" 2> /dev/null)"
  case "$early" in '' | *[!0-9]*) ;; *) deadline=$((early < deadline ? early : deadline)) ;; esac
  # The clock on the wall may be wrong, and the time since boot begins anew at a reboot: whichever comes first.
  by_clock=$((deadline - $(date +%s)))
  by_uptime=$(($(cat /run/cvl-ci-booted) + seconds + deadline - original - $(uptime)))
  left=$((by_clock < by_uptime ? by_clock : by_uptime))
  [ "$left" -gt 0 ] || break
  sleep "$((left < 15 ? left : 15))"
done
echo "cvl-ci: the deadline of this machine has passed" > /dev/console 2> /dev/null
# By force: nothing on it is worth the wait for a service that will not stop. EC2 makes of it what the launch asked for.
while :; do
  systemctl poweroff --force || shutdown -P now || poweroff -f
  sleep 20
done
TIMER
chmod 755 "$state/timer"
# Under systemd it comes back when it is killed; elsewhere it is a process of root's.
if [ -d /run/systemd/system ]; then
  systemd-run --quiet --no-block --unit=cvl-ci-deadline --property=DefaultDependencies=no --property=Restart=always \
    --property=RestartSec=1 --property=StartLimitIntervalSec=0 --property=TimeoutStopSec=2 \
    --property=OOMScoreAdjust=-1000 "$state/timer" && exit 0
fi
setsid "$state/timer" < /dev/null > /dev/null 2>&1 &
