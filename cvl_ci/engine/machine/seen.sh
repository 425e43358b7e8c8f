# cvl-ci on the machine: what birth.sh notes of the whole machine before its first job, and clean.sh compares after each.
cvl_ci_mounts_now() { cut -d ' ' -f 1-3 /proc/self/mounts | LC_ALL=C sort; }
# Units of systemd that run or wait: a job's own ones are not children of the job. Logins come and go, as does the upkeep
# of the system. Containers have a check of their own.
cvl_ci_units() {
  local all own=""
  [ -d /run/systemd/system ] || return 0
  all="$(systemctl list-units --no-legend --plain --no-pager --type=service,scope,timer,path,socket \
    --state=active,activating,reloading,deactivating)" || return 1
  if [ -S "/run/user/$(id -u)/bus" ]; then
    own="$(XDG_RUNTIME_DIR="/run/user/$(id -u)" systemctl --user list-units --no-legend --plain --no-pager \
      --type=service,scope,timer,path --state=active,activating,reloading,deactivating)" || return 1
  fi
  printf '%s\n%s\n' "$all" "$own" | cut -d ' ' -f 1 | while IFS= read -r unit; do
    case "$unit" in
      '' | session-*.scope | init.scope | user@*.service | user-runtime-dir@*.service | ssh@* | sshd@*) ;;
      docker.service | containerd.service | docker-*.scope | dbus* | systemd-* | polkit.service) ;;
      apt-* | unattended-upgrades.service | packagekit.service | nvidia-persistenced.service) ;;
      *) printf '%s\n' "$unit" ;;
    esac
  done | LC_ALL=C sort -u
}
# Folders for all users. Ray and SkyPilot have files there, which belong to no job.
cvl_ci_shared=(/tmp)
for folder in /var/tmp /dev/shm; do [ ! -d "$folder" ] || cvl_ci_shared+=("$folder"); done
cvl_ci_of_nobody=(-ignore_readdir_race -xdev -mindepth 1 \( -path '/tmp/ray*' -o -path '/tmp/sky_ssh*' -o -path '/tmp/skylet*'
  -o -path '/tmp/plasma*' -o -path '/dev/shm/plasma*' -o -path '/*/systemd-private*' -o -path '/tmp/.*-unix' \) -prune -o)
cvl_ci_folders() { # how to act as root
  $1 find "${cvl_ci_shared[@]}" "${cvl_ci_of_nobody[@]}" -type d -print0 | LC_ALL=C sort -z
}
# sshd gives each session the addresses of its connection, and all processes of the session inherit them. A process that ends
# meanwhile makes grep's status an error, so the caller looks for a process of its own in the answer.
cvl_ci_connections() { # how to act as root
  $1 grep -azsH '^SSH_CONNECTION=' /proc/[0-9]*/environ || true
}
