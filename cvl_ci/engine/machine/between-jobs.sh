# cvl-ci on the machine, before a further job: end the containers that the earlier job left. supervise.py has ended its
# processes. An engine that starts with its first client is not started for this.
chmod 700 "$HOME/.sky/sky_app" 2> /dev/null # the programs of jobs hold their secrets
for process in /proc/[0-9]*/comm; do
  name=""
  { IFS= read -r name < "$process"; } 2> /dev/null # a process may end meanwhile
  [ "$name" = dockerd ] || continue
  as_root=""
  timeout 20 docker ps > /dev/null 2>&1 || as_root="sudo -n"
  left="$(timeout 20 $as_root docker ps --quiet 2> /dev/null)" || exit 0
  [ -n "$left" ] || exit 0
  # shellcheck disable=SC2086  one word for each container
  said="$(timeout 60 $as_root docker kill $left 2>&1)" || true # one may have ended by itself
  still="$(timeout 20 $as_root docker ps --quiet)" || exit 1
  for container in $left; do
    case "$still" in *"$container"*)
      echo "The container $container of the job before does not end: $said" >&2
      exit 1
      ;;
    esac
  done
  exit 0
done
