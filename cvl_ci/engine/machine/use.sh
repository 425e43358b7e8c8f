# cvl-ci on the head of a machine that several runners enter: take it, or offer it to the next run. One step decides, so
# that of two runs one gets it. Arguments: the use that must be noted, or - for any; and the use to note instead.
set -u
umask 077
cd -P "$HOME/.cvl-ci-birth" || exit 1
exec 9> use.lock
flock -w 20 9 || exit 1
noted="$(head -c 100 use 2> /dev/null)"
if [ "$1" != - ] && [ "$noted" != "$1" ]; then
  echo "cvl-ci: this machine has another use: $noted"
  exit 0
fi
printf '%s' "$2" > use.new && mv use.new use || exit 1
echo "cvl-ci: this machine has the use $2"
