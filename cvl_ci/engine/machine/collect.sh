# cvl-ci on the machine, after the job: pack what changed since its start, and print each archive's name and size.
# Arguments: lease, what is named outright (a regular expression, or nothing), then +EXPRESSION or -EXPRESSION in order.
# Containers write as root, so all of it runs as root where the user may: one sudo takes less time than one for each step.
owner="${CVL_CI_OWNER:-$(id -u):$(id -g)}"
if [ "$EUID" != 0 ] && sudo -n true 2> /dev/null; then
  again=(bash "$0") # a file, or the text that bash -c got
  [ -z "${BASH_EXECUTION_STRING:-}" ] || again=(bash -c "$BASH_EXECUTION_STRING" "$0")
  # Not by exec: who started this script may end it at a limit, and root's program refuses a user's signal.
  sudo -n env HOME="$HOME" CVL_CI_OWNER="$owner" "${again[@]}" "$@"
  exit
fi
lease="$1" outright="$2"
shift 2
state="$HOME/.cvl-ci/$lease" root="$HOME/sky_workdir"
pack="$state/fetch"
rm -rf "$pack"
mkdir -p "$pack"
[ -e "$state/job-began" ] || exit 0
# An empty list of files means that there are none, so the list has to find room.
{ head -c 65536 /dev/zero > "$pack/room"; } 2> /dev/null && rm -f "$pack/room" \
  || { rm -f "$pack/room"; echo "the disk has no room for the list of files" >&2; exit 1; }

# request/patterns.py writes the expressions. In the C locale a letter beyond ASCII is several bytes, and these are the
# second and later ones of it.
high=$'\200-\277'
match=()
for rule in "$@"; do
  expression="\\./(${rule:1})"
  expression="${expression//@HIGH@/$high}"
  case "$rule" in
    -*) match=("(" "${match[@]}" ")" -not -regex "$expression") ;;
    *) match=("(" "${match[@]}" ${match[@]:+-o} -regex "$expression" ")") ;;
  esac
done

# ctime, not mtime: unpacked and copied files keep old mtimes. Virtual environments, byte code and the repository we
# made ourselves are not outputs.
pack_changed() { # archive, folder, a file as old as the job's beginning, the test for what setup made
  local archive="$1" folder="$2" prune=() changed=(-cnewer "$3") venv
  [ -d "$folder" ] || return 0
  while IFS= read -r -d '' venv; do prune+=(-path "${venv%/pyvenv.cfg}" -prune -o); done \
    < <(cd "$folder" && find . -name pyvenv.cfg -print0 2> /dev/null)
  [ -z "$outright" ] || changed=("(" "${changed[@]}" -o "$4" "$state/began" -regex "\\./($outright)" ")")
  (cd "$folder" && LC_ALL=C find . -regextype posix-extended \
    -path ./.git -prune -o -name __pycache__ -prune -o "${prune[@]}" \
    \( -type f -o -type l \) "${changed[@]}" "${match[@]}" -print0 2> /dev/null) > "$pack/list"
  [ -s "$pack/list" ] || { rm -f "$pack/list"; return 0; } # nothing to bring
  # An absolute link into this folder gets a target that begins with /./ (engine/fetch/member_paths.py), because the folder
  # has another place after the fetch.
  local place inner=()
  for place in "$folder" "$(cd "$folder" && pwd -P)"; do
    inner+=("--transform=s,^$(printf '%s' "$place" | sed 's/[][\\.*^$,]/\\&/g')/,/./,RHs")
  done
  # 1: a file changed while it was read, by a process the job left behind; what was read is kept.
  tar --format=gnu "${inner[@]}" -C "$folder" --null --no-recursion -T "$pack/list" -cf "$archive" 2> "$pack/tar.err" \
    || [ $? -eq 1 ]
  local packed=$?
  [ "$packed" = 0 ] || head -c 300 "$pack/tar.err" >&2
  rm -f "$pack/list"
  return $packed
}
pack_changed "$pack/root.tar" "$root" "$state/job-began" -cnewer
first=$?
pack_changed "$pack/work.tar" "$state/work" "$state/job-began" -cnewer
second=$?
for sample in "$state"/samples/*/; do # where it ran more than once
  [ -e "$sample/began" ] || continue
  name="$(basename "$sample")"
  # All of a copy is newer than setup by ctime.
  pack_changed "$pack/$name.root.tar" "$sample/root" "$sample/began" -newer || second=1
  pack_changed "$pack/$name.work.tar" "$sample/work" "$sample/began" -newer || second=1
done
chmod -R u+rw "$pack"
chown -R "$owner" "$pack"
for archive in "$pack"/*.tar; do
  [ ! -f "$archive" ] || [ -L "$archive" ] || echo "archive ${archive##*/} $(($(wc -c < "$archive")))"
done
[ "$first" = 0 ] && [ "$second" = 0 ]
