# cvl-ci on the machine: the key of the proxy's certificate, in a file that this user alone can read.
rm -f "$cvl_ci_state/tls-key.pem"
(umask 077 && printf '%s\n' "$CVL_CI_TLS_KEY" > "$cvl_ci_state/tls-key.pem")
unset CVL_CI_TLS_KEY
cvl_ci_proxy+=(--tls "$cvl_ci_state/tls-chain.pem" "$cvl_ci_state/tls-key.pem")
