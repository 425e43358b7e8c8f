"""Tell which texts no environment and no command line of a machine can hold. Pure."""

from __future__ import annotations

MOST_VARIABLE_BYTES = 128 * 1024 - 1
"""The most bytes of NAME=VALUE. Linux starts no program with more (MAX_ARG_STRLEN, with the NUL at the end)."""


def problem_of(text: str) -> str:
    """Return why a text cannot go to a machine; empty: it can."""
    if "\0" in text:
        return "holds a NUL character, which no environment and no command line can hold"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds bytes that are not UTF-8, so no file for the machine can hold it"
    return ""


def problem_of_variable(name: str, value: str) -> str:
    """Return why a machine cannot have a variable; empty: it can. The value is not repeated: it may be a secret."""
    if problem := problem_of(value):
        return f"has a value that {problem}"
    size = len(f"{name}={value}".encode())
    if size > MOST_VARIABLE_BYTES:
        return f"has {size} bytes with its name, and Linux starts no program with more than {MOST_VARIABLE_BYTES}"
    return ""
