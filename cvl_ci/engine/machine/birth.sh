# cvl-ci on the machine, before its first job: the login user's files, the mounts, the units and the logins as they are now.
# clean.sh brings the files back, ends other logins, and refuses a machine with another mount or unit.
if [ ! -e "$HOME/.cvl-ci-birth/whole" ]; then
  (
    set -o pipefail
    umask 077
    rm -rf "$HOME/.cvl-ci-birth" && mkdir "$HOME/.cvl-ci-birth" && cd "$HOME" || exit 0
    birth=.cvl-ci-birth
    as_root=""
    if [ "$(id -u)" != 0 ] && sudo -n true 2> /dev/null; then as_root="sudo -n"; fi
    [ "$(id -u)" != 0 ] && [ -z "$as_root" ] || : > "$birth/root"
    cvl_ci_mounts_now > "$birth/mounts" && cvl_ci_units > "$birth/units" || exit 0
    cvl_ci_folders "$as_root" > "$birth/folders" || exit 0
    SSH_CONNECTION=cvl-ci-birth sleep 600 < /dev/null > /dev/null 2>&1 &
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      cvl_ci_connections "$as_root" | cut -z -d : -f 2- | LC_ALL=C sort -zu > "$birth/connections" || exit 0
      grep -qzxF SSH_CONNECTION=cvl-ci-birth "$birth/connections" && break
      sleep 0.1
    done
    kill $! && grep -qzxF SSH_CONNECTION=cvl-ci-birth "$birth/connections" || exit 0
    find . -mindepth 1 -maxdepth 1 -printf '%y %p\0' > "$birth/names" || exit 0
    # Files with a dot tell programs who the user is, and what they run at a login. The small ones can come back.
    find . -xdev -mindepth 1 \( -path ./.cvl-ci -o -path "./$birth" -o -path ./.sky -o -path ./.cache \
      -o -path ./.local \) -prune -o -path './.*' ! -type d \
      \( \( -type l -o -type f -size -256k \) -fprint0 "$birth/small" -o -fprint0 "$birth/large" \) || exit 0
    LC_ALL=C sort -z -o "$birth/large" "$birth/large" || exit 0
    tar --null --no-recursion -T "$birth/small" -cf "$birth/small.tar" 2> /dev/null && : > "$birth/whole"
  )
fi
