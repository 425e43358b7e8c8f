# cvl-ci on the machine: put the folders from the runner at their places, check copies, and let containers see them.
cvl_ci_refuse_mount() { # message
  echo "cvl-ci: $1"
  cvl_ci_end 74 0 mounts
  exit 74
}

# The job's user owns a mount: a folder below / needs root.
cvl_ci_place() { # folder among the files, target
  [ ! -e "$cvl_ci_state/placed-$1" ] || return 0
  local from="$cvl_ci_root/.cvl-ci-mounts/$1"
  mkdir -p "$from"
  { mkdir -p "$2" 2> /dev/null && [ -w "$2" ]; } \
    || { sudo -n mkdir -p "$2" && sudo -n chown "$(id -u):$(id -g)" "$2"; } \
    || cvl_ci_refuse_mount "$2 cannot be made on this machine"
  cp -a "$from/." "$2/" || cvl_ci_refuse_mount "$2 did not get all of its files"
  : > "$cvl_ci_state/placed-$1"
}

# A cached bucket stands whole at a hidden path, and the wanted path leads to its prefix.
cvl_ci_link() { # prefix, target
  [ ! -L "$2" ] || return 0
  local parent
  parent="$(dirname "$2")"
  mkdir -p "$1" && { { mkdir -p "$parent" && ln -s "$1" "$2"; } 2> /dev/null \
    || { sudo -n mkdir -p "$parent" && sudo -n ln -s "$1" "$2"; }; } \
    || cvl_ci_refuse_mount "$2 cannot lead to its bucket"
}

cvl_ci_check() { # address, target
  local mark answer=0
  mark="$cvl_ci_state/checked-$(printf '%s' "$2" | cksum | cut -d' ' -f1)"
  [ ! -e "$mark" ] || return 0
  "$cvl_ci_python" "$cvl_ci_state/check_copy.py" "$1" "$2" || answer=$?
  [ "$answer" != 1 ] || cvl_ci_refuse_mount "$2 is not the same as $1"
  [ "$answer" = 0 ] || cvl_ci_refuse_mount "$2 is not proved to be the same as $1"
  : > "$mark"
}

# Every container that a script starts sees the mounts too, unless the script itself uses that path.
cvl_ci_mounted() {
  local docker bin="$cvl_ci_state/bin"
  docker="$(command -v docker || true)"
  [ -n "$docker" ] && [ "$docker" != "$bin/docker" ] || return 0
  mkdir -p "$bin"
  {
    printf '#!/bin/bash\nmounts=(%s)\ndocker=%q\n' "$(printf '%q ' "${cvl_ci_mounts[@]}")" "$docker"
    cat << 'CVL_CI_DOCKER'
words=("$@")
at=0
[ "${words[0]}" != container ] || at=1
case "${words[$at]}" in
  run | create)
    binds=()
    for mount in "${mounts[@]}"; do
      case " $* " in
        *"=$mount "* | *"=$mount,"* | *":$mount "* | *":$mount:"*) ;;
        *) binds+=(--mount "type=bind,src=$mount,dst=$mount") ;;
      esac
    done
    exec "$docker" "${words[@]:0:$((at + 1))}" "${binds[@]}" "${words[@]:$((at + 1))}"
    ;;
esac
exec "$docker" "${words[@]}"
CVL_CI_DOCKER
  } > "$bin/docker"
  chmod 755 "$bin/docker"
  export PATH="$bin:$PATH"
}
