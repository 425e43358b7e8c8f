# cvl-ci on the machine, after the job: pack what changed since its start. Arguments: lease, directory, globs...
lease="$1" directory="$2"
shift 2
state="$HOME/.cvl-ci/$lease" root="$HOME/sky_workdir"
as_root=""
sudo -n true 2> /dev/null && as_root="sudo -n"
pack="$state/fetch"
$as_root rm -rf "$pack"
mkdir -p "$pack"
[ -e "$state/job-began" ] || exit 0

# Containers write as root: list and read as root, hand over to the login user. ctime, not mtime: unpacked and
# copied files keep old mtimes. Virtual environments, byte code and the repository we made ourselves are no outputs.
pack_changed() { # archive, folder, a file as old as its beginning, globs that narrow it
  local archive="$1" folder="$2" since="$3" prune=() match=() venv glob
  shift 3
  [ -d "$folder" ] || return 0
  while IFS= read -r -d '' venv; do prune+=(-path "${venv%/pyvenv.cfg}" -prune -o); done \
    < <(cd "$folder" && $as_root find . -name pyvenv.cfg -print0 2> /dev/null)
  if [ $# -gt 0 ]; then
    for glob in "$@"; do
      glob="${glob#./}" glob="${glob%/}" glob="${glob//\*\*/\*}"
      match+=(-o -path "./$glob" -o -path "./$glob/*" -o -path "./$directory/$glob" -o -path "./$directory/$glob/*")
      case "$glob" in */*) ;; *) match+=(-o -name "$glob") ;; esac
    done
    match=("(" "${match[@]:1}" ")")
  fi
  (cd "$folder" && $as_root find . -path ./.git -prune -o -name __pycache__ -prune -o "${prune[@]}" \
    \( -type f -o -type l \) -cnewer "$since" "${match[@]}" -print0 2> /dev/null) > "$pack/list"
  # 1: a file changed while it was read, by a process the job left behind; what was read is kept.
  $as_root tar -C "$folder" --null --no-recursion -T "$pack/list" -cf "$archive" 2> "$pack/tar.err" || [ $? -eq 1 ]
  local packed=$?
  rm -f "$pack/list"
  return $packed
}
pack_changed "$pack/root.tar" "$root" "$state/job-began" "$@"
first=$?
pack_changed "$pack/work.tar" "$state/work" "$state/job-began" "$@"
second=$?
for sample in "$state"/samples/*/; do # where it ran more than once
  [ -e "$sample/began" ] || continue
  name="$(basename "$sample")"
  pack_changed "$pack/$name.root.tar" "$sample/root" "$sample/began" "$@" || second=1
  pack_changed "$pack/$name.work.tar" "$sample/work" "$sample/began" "$@" || second=1
done
[ -z "$as_root" ] || $as_root chown -R "$(id -u):$(id -g)" "$pack"
chmod -R u+rw "$pack"
[ "$first" = 0 ] && [ "$second" = 0 ]
