# The model cache: what the job wants of the hub is on this disk first, here and in every container that it starts.
export HF_HOME="${HF_HOME:-$HOME/.cache/huggingface}"
export HF_HUB_CACHE="${HF_HUB_CACHE:-$HF_HOME/hub}"
mkdir -p "$HF_HUB_CACHE" "$cvl_ci_state/programs"

cvl_ci_models() { # restore|store, most seconds
  local left most="$2"
  left="$(cvl_ci_seconds_left)"
  [ "$left" -gt 0 ] && [ -x "$cvl_ci_python" ] || return 0
  timeout -k 20 "$((left < most ? left : most))" "${cvl_ci_own[@]}" "$cvl_ci_python" -I -c \
    'import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_module(sys.argv.pop(), run_name="__main__")' \
    "$cvl_ci_state" "cvl_ci.engine.machine.models_$1" ||
    echo "cvl-ci: the model cache did not finish in time."
}

if [ ! -e "$cvl_ci_state/models-tried" ]; then
  : > "$cvl_ci_state/models-tried"
  cvl_ci_models restore 3600
fi
if [ -e "$cvl_ci_state/models-offline" ]; then export HF_HUB_OFFLINE=1; fi
if [ -d "$HF_HUB_CACHE/by-name" ]; then export CVL_MODELS="$HF_HUB_CACHE/by-name"; fi

# Examples start their containers themselves. This program stands before docker and adds the cache to `docker run`.
if [ -z "${CVL_CI_DOCKER:-}" ] && CVL_CI_DOCKER="$(command -v docker)"; then
  export CVL_CI_DOCKER
  cat > "$cvl_ci_state/programs/docker" << 'CVL_CI_END_OF_DOCKER'
#!/bin/bash
if [ "$1" != run ] || [ ! -d "${HF_HUB_CACHE:-}" ]; then exec "$CVL_CI_DOCKER" "$@"; fi
shift
added=(--mount "type=bind,src=$HF_HUB_CACHE,dst=/var/cache/cvl-ci-hub" --env HF_HUB_CACHE=/var/cache/cvl-ci-hub)
if [ -n "${CVL_MODELS:-}" ]; then added+=(--env CVL_MODELS=/var/cache/cvl-ci-hub/by-name); fi
if [ -n "${HF_HUB_OFFLINE:-}" ]; then added+=(--env "HF_HUB_OFFLINE=$HF_HUB_OFFLINE"); fi
exec "$CVL_CI_DOCKER" run "${added[@]}" "$@"
CVL_CI_END_OF_DOCKER
  chmod 755 "$cvl_ci_state/programs/docker"
  export PATH="$cvl_ci_state/programs:$PATH"
fi
