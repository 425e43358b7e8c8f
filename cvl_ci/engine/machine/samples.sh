# cvl-ci on the machine: the job again and again, each time in a fresh copy of its files, maybe in turn with another commit's.
# What a sample wrote stays in its copy until it is packed. How long it ran is in `samples/told`, one a line.
cvl_ci_as_root=""
if sudo -n true 2> /dev/null; then cvl_ci_as_root="sudo -n"; fi
mkdir -p "$cvl_ci_state/samples"
cvl_ci_head="$cvl_ci_root" cvl_ci_base="$cvl_ci_state/base"
if [ -d "$cvl_ci_root/.cvl-ci-base" ]; then
  mv "$cvl_ci_root/.cvl-ci-base" "$cvl_ci_base"
  if command -v git > /dev/null; then git -C "$cvl_ci_base" init -q; fi
fi

cvl_ci_copy() { # the sample's name, of which files
  local sample="$cvl_ci_state/samples/$1" left
  left="$(cvl_ci_seconds_left)"
  [ "$left" -gt 0 ] || { cvl_ci_end 124 1 setup; exit 124; }
  mkdir -p "$sample/work"
  # Containers write as root, and a copy must be able to read that. A shared extent, where the disk can, takes no time.
  timeout -k 10 "$left" $cvl_ci_as_root cp -a --reflink=auto "$2" "$sample/root" || {
    if [ $? -eq 124 ]; then cvl_ci_end 124 1 setup; exit 124; else cvl_ci_end 126 0 setup; exit 126; fi
  }
  export CVL_WORK_DIR="$sample/work"
  cvl_ci_root="$sample/root"
  : > "$sample/began"
}
# The time of the commands alone: what cvl-ci does around each of them is not part of a sample.
cvl_ci_clock() { rm -f "$cvl_ci_state/took"; }
cvl_ci_told() {
  local took total=0
  while read -r took; do total=$((total + took)); done < "$cvl_ci_state/took"
  echo "sample=$1 $total" >> "$cvl_ci_state/samples/told"
}
# Of another commit's work: that it fails is not a failure of this one, and it is not tried again.
cvl_ci_base_failed() {
  echo "base_failed=$1" >> "$cvl_ci_state/samples/told"
  : > "$cvl_ci_state/samples/no-base"
}
