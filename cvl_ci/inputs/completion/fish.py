"""The completion script of fish. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.inputs.completion.vocabulary import COMMA_LISTS, FILES, FOLDERS, Option, Verb, walk

_HEAD = """\
# Completion of cvl-ci for fish, made by `cvl-ci completion fish`.
# Load it in ~/.config/fish/config.fish: cvl-ci completion fish | source

function __cvl_ci_at # path of a verb: whether the line has come to it, and to none below it
    set -l tokens (commandline -opc)[2..]
    set -l count (count $argv)
    test (count $tokens) -ge $count; or return 1
    test $count -eq 0; or test "$tokens[1..$count]" = "$argv"; or return 1
    not contains -- "$tokens[$(math $count + 1)]" (__cvl_ci_below "$argv")
end

function __cvl_ci_first # whether the word is the first one after the program or its verb
    test (count (commandline -opc)) -eq (math 1 + $argv[1])
end

function __cvl_ci_after_comma # words: each after the list that is typed already
    set -l before (string match -r '.*,' -- (commandline -ct | string replace -r '^--[^=]*=' ''))
    set -q before[1]; or set before ''
    printf '%s\\n' $before$argv
end

complete -c cvl-ci -e
complete -c cvl-ci -f
"""


def script(program: Verb, lists: Mapping[str, Sequence[str]], shell_lists: Mapping[str, str]) -> str:
    """Return the whole script. `shell_lists`: a command for each source that only the shell itself can list."""
    verbs = [((), program), *walk(program)]
    return "\n".join(
        [
            _HEAD,
            "function __cvl_ci_below # path of a verb: prints the verbs below it",
            "    switch $argv[1]",
            *(_case(" ".join(path), f"printf '%s\\n' {_names(verb)}") for path, verb in verbs if verb.verbs),
            "    end",
            "end",
            "",
            "function __cvl_ci_values # source: prints its words",
            "    switch $argv[1]",
            *(_case(source, _list(source, words)) for source, words in lists.items()),
            *(_case(source, f"sh -c {_quoted(command)}") for source, command in shell_lists.items()),
            "    end",
            "end",
            "",
            *(line for path, verb in verbs for line in _verb(path, verb)),
            "",
        ]
    )


def _case(name: str, command: str) -> str:
    return f"        case {_quoted(name)}\n            {command}"


def _names(verb: Verb) -> str:
    return " ".join(child.name for child in verb.verbs)


def _list(source: str, words: Sequence[str]) -> str:
    command = "__cvl_ci_after_comma" if source in COMMA_LISTS else "printf '%s\\n'"
    return f"{command} {' '.join(map(_quoted, words))}"


def _verb(path: tuple[str, ...], verb: Verb) -> Iterator[str]:
    condition = f"__cvl_ci_at {' '.join(path)}".strip()
    first = f"{condition}; and __cvl_ci_first {len(path)}"
    for child in verb.verbs:
        yield f"complete -c cvl-ci -n {_quoted(first)} -a {child.name} -d {_quoted(child.help)}"
    for option in verb.options:
        yield f"complete -c cvl-ci -n {_quoted(condition)} {_option(option)}"
    if verb.words:
        yield f"complete -c cvl-ci -n {_quoted(condition)} {_value(verb.words[0])}"


def _option(option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    value = ""
    if option.metavar:
        value = f" {'-r' if option.source == FILES else '-x'} {_value(option.source)}".rstrip()
    return f"{flags}{value} -d {_quoted(option.help)}"


def _value(source: str) -> str:
    """Return what fish calls for a value."""
    if source in (FILES, FOLDERS):
        return "-F" if source == FILES else "-a '(__fish_complete_directories)'"
    return f"-a {_quoted(f'(__cvl_ci_values {_quoted(source)})')}" if source else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
