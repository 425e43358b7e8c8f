# cvl-ci on the machine: only the proxy's port is open in the cloud. It starts before the server.
# The kernel ends it with this shell (PR_SET_PDEATHSIG in proxy/main.py).
rm -f "$cvl_ci_state/proxy-ready"
"$cvl_ci_python" -I -c 'import sys; sys.path.insert(0, sys.argv[1]); from proxy import main; sys.exit(main.main(*sys.argv[2:]))' \
  "$cvl_ci_state" "$cvl_ci_state/proxy-ready" "${cvl_ci_proxy[@]}" < /dev/null &
cvl_ci_proxy_pid=$!
for _ in $(seq 100); do
  [ -e "$cvl_ci_state/proxy-ready" ] && break
  kill -0 "$cvl_ci_proxy_pid" 2> /dev/null || break
  sleep 0.1
done
if [ ! -e "$cvl_ci_state/proxy-ready" ]; then
  cvl_ci_end 98 0 running
  exit 98
fi
