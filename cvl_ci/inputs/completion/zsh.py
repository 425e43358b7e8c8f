"""The completion script of zsh. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.inputs.completion.vocabulary import COMMA_LISTS, FILES, FOLDERS, Option, Verb

_HEAD = """\
#compdef cvl-ci
# Completion of cvl-ci for zsh, made by `cvl-ci completion zsh`.
# Load it in ~/.zshrc, after compinit: eval "$(cvl-ci completion zsh)"
"""

_TAIL = """
if [[ $funcstack[1] == _cvl_ci ]]; then _cvl_ci "$@"; else compdef _cvl_ci cvl-ci; fi
"""


def script(program: Verb, lists: Mapping[str, Sequence[str]], shell_lists: Mapping[str, str]) -> str:
    """Return the whole script. `shell_lists`: a command for each source that only the shell itself can list."""
    commands = {source: f"print -l -- {' '.join(map(_quoted, words))}" for source, words in lists.items()}
    return "\n".join(
        [
            _HEAD,
            "_cvl_ci_values() { # source",
            "  local -a words",
            "  case $1 in",
            *(
                f'    {_quoted(source)}) words=(${{(f)"$({command})"}}) ;;'
                for source, command in (commands | dict(shell_lists)).items()
            ),
            "  esac",
            f"  case $1 in {'|'.join(sorted(COMMA_LISTS))}) compset -P '*,' ;; esac",
            "  compadd -a words",
            "}",
            "",
            *_function("_cvl_ci", program),
            _TAIL,
        ]
    )


def _function(name: str, verb: Verb) -> Iterator[str]:
    """Yield the functions of the verbs below this one, then its own."""
    for child in verb.verbs:
        yield from _function(f"{name}_{child.name}", child)
    yield f"{name}() {{"
    if verb.verbs:
        yield "  if (( CURRENT > 2 )); then"
        yield "    local verb=$words[2]"
        yield "    shift words; (( CURRENT-- ))"
        yield f"    (( $+functions[{name}_$verb] )) && {name}_$verb"
        yield "    return"
        yield "  fi"
        yield "  local -a verbs=("
        yield from (f"    {_quoted(child.name + ':' + child.help)}" for child in verb.verbs)
        yield "  )"
        yield "  [[ $words[CURRENT] == -* ]] || _describe verb verbs"
    specs = [*(_option(option) for option in verb.options), *_words(verb)]
    yield "  _arguments -S" + "".join(f" \\\n    {spec}" for spec in specs)
    yield "}"
    yield ""


def _option(option: Option) -> str:
    long = option.flags[0] if len(option.flags) == 1 else "{" + ",".join(option.flags) + "}"
    text = _escaped(option.help)
    value = ""
    if option.metavar:
        value = f"{':' * (1 + option.is_value_optional)}{_escaped(option.metavar)}:{_action(option.source)}"
    assign = "=" if option.metavar and all(flag.startswith("--") for flag in option.flags) else ""
    if len(option.flags) == 1:
        return _quoted(f"{'*' * option.is_repeatable}{long}{assign}[{text}]{value}")
    flags = ",".join(f"{flag}{assign}" for flag in option.flags)
    guard = "'*'" if option.is_repeatable else _quoted(f"({' '.join(option.flags)})")
    return f"{guard}{{{flags}}}{_quoted(f'[{text}]{value}')}"


def _words(verb: Verb) -> Iterator[str]:
    for at, source in enumerate(verb.words, start=1):
        is_last = at == len(verb.words) and verb.is_open
        yield _quoted(f"{'*' if is_last else at}: :{_action(source)}")


def _action(source: str) -> str:
    """Return what zsh calls for a value."""
    if source in (FILES, FOLDERS):
        return "_files" if source == FILES else "_files -/"
    return f"{{_cvl_ci_values {_double(source)}}}" if source else " "


def _double(text: str) -> str:
    return '"' + text + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """Return a text that no part of a specification can be mistaken in."""
    return "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in text)
