# cvl-ci on the machine, before its first job: the login user's files as they are now. clean.sh brings them back.
if [ ! -e "$HOME/.cvl-ci-birth/whole" ]; then
  (
    umask 077
    rm -rf "$HOME/.cvl-ci-birth" && mkdir "$HOME/.cvl-ci-birth" && cd "$HOME" || exit 0
    find . -mindepth 1 -maxdepth 1 -print0 | sort -z > .cvl-ci-birth/names
    # Small files with a dot tell programs who the user is, and what they run at a login.
    find . -mindepth 1 -maxdepth 3 \( -path ./.cvl-ci -o -path ./.cvl-ci-birth -o -path ./.sky -o -path ./.cache \
      -o -path ./.local \) -prune -o -path './.*' -type f -size -256k -print0 > .cvl-ci-birth/small
    tar --null --no-recursion -T .cvl-ci-birth/small -cf .cvl-ci-birth/small.tar 2> /dev/null \
      && : > .cvl-ci-birth/whole
  )
fi
