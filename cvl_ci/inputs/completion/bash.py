"""The completion script of bash. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.inputs.completion.vocabulary import COMMA_LISTS, Verb, walk

_HEAD = """\
# Completion of cvl-ci for bash, made by `cvl-ci completion bash`.
# Load it in ~/.bashrc: eval "$(cvl-ci completion bash)"
"""

_FUNCTIONS = r"""
_cvl_ci_offer() { # beginning, text before it: takes from the lines of stdin; a name from a repository is never run
  local line quoted
  while IFS= read -r line; do
    printf -v quoted %q "$line"
    [[ $line == "$1"* ]] && COMPREPLY+=("$2$quoted")
  done
}

_cvl_ci_values() { # source, beginning
  local before='' beginning=$2
  case $1 in
    files | folders)
      compopt -o filenames 2>/dev/null
      [[ $1 == files ]] && mapfile -t COMPREPLY < <(compgen -f -- "$beginning")
      [[ $1 == folders ]] && mapfile -t COMPREPLY < <(compgen -d -- "$beginning")
      return ;;
    @COMMA@) [[ $beginning == *,* ]] && before=${beginning%,*}, beginning=${beginning##*,} ;;
  esac
  _cvl_ci_offer "$beginning" "$before" < <(_cvl_ci_list "$1")
}

_cvl_ci() {
  local current=${COMP_WORDS[COMP_CWORD]} verb='' option='' count=0 at word
  COMPREPLY=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=${COMP_WORDS[at]}
    if [[ $word == -- ]]; then
      _cvl_ci_values files "$current"
      return
    elif [[ -z $verb ]]; then
      verb=$word
    elif [[ $at == 2 && $'\n'$(_cvl_ci_verbs "$verb")$'\n' == *$'\n'"$word"$'\n'* ]]; then
      verb="$verb $word"
    elif [[ $word != -* ]]; then
      ((count++))
    elif _cvl_ci_source "$verb" "$word" >/dev/null; then
      [[ ${COMP_WORDS[at + 1]} == = ]] && ((at++))
      option=$word
      ((at++))
    fi
  done
  if ((at > COMP_CWORD)); then
    [[ $current == = ]] && current=''
    _cvl_ci_values "$(_cvl_ci_source "$verb" "$option")" "$current"
  elif [[ $current == -* ]]; then
    _cvl_ci_offer "$current" '' < <(_cvl_ci_options "$verb")
  elif [[ -n $(_cvl_ci_verbs "$verb") ]]; then
    _cvl_ci_offer "$current" '' < <(_cvl_ci_verbs "$verb")
  else
    _cvl_ci_values "$(_cvl_ci_word "$verb" "$count")" "$current"
  fi
}

complete -F _cvl_ci cvl-ci
"""


def script(program: Verb, lists: Mapping[str, Sequence[str]], shell_lists: Mapping[str, str]) -> str:
    """Return the whole script. `shell_lists`: a command for each source that only the shell itself can list."""
    verbs = [((), program), *walk(program)]
    names = {path: " ".join(path) for path, _ in verbs}
    return "\n".join(
        [
            _HEAD,
            "_cvl_ci_list() { # source: prints its words",
            "  case $1 in",
            *(f"    {shlex.quote(source)}) {_echo(words)} ;;" for source, words in lists.items()),
            *(f"    {source}) {command} ;;" for source, command in shell_lists.items()),
            "  esac",
            "}",
            "",
            *_table("_cvl_ci_verbs", ((names[path], [child.name for child in verb.verbs]) for path, verb in verbs)),
            *_table("_cvl_ci_options", ((names[path], _flags(verb)) for path, verb in verbs)),
            "_cvl_ci_source() { # verb, option: prints the source of its value; fails for a switch",
            '  case "$1 $2" in',
            *(
                f"    {'|'.join(shlex.quote(f'{names[path]} {flag}') for flag in option.flags)}) "
                f"echo {shlex.quote(option.source)} ;;"
                for path, verb in verbs
                for option in verb.options
                if option.metavar
            ),
            "    *) return 1 ;;",
            "  esac",
            "}",
            "",
            "_cvl_ci_word() { # verb, the count of words before: prints the source of the next word",
            '  case "$1 $2" in',
            *(line for path, verb in verbs for line in _words(names[path], verb)),
            "  esac",
            "}",
            _FUNCTIONS.replace("@COMMA@", " | ".join(sorted(COMMA_LISTS))),
        ]
    )


def _echo(words: Sequence[str]) -> str:
    return f"printf '%s\\n' {shlex.join(words)}"


def _table(function: str, rows: Iterator[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [f"    {shlex.quote(name)}) {_echo(words)} ;;" for name, words in rows if words]
    return [f"{function}() {{ # verb", "  case $1 in", *lines, "  esac", "}", ""]


def _flags(verb: Verb) -> list[str]:
    return [flag for option in verb.options for flag in option.flags if flag.startswith("--")]


def _words(name: str, verb: Verb) -> Iterator[str]:
    for at, source in enumerate(verb.words):
        is_last = at == len(verb.words) - 1 and verb.is_open
        yield f"    {shlex.quote(name)}' '{'*' if is_last else at}) echo {shlex.quote(source)} ;;"
