"""The lines that say what went wrong, out of logs as jobs write them."""

from __future__ import annotations

import pytest

from cvl_ci.result.first_errors import MOST_ERRORS, MOST_FRAMES, FirstErrors


def errors_of(log: str) -> list[str]:
    errors = FirstErrors()
    for line in log.splitlines():
        errors.line(line)
    return list(errors.error_lines())


TRACEBACK = """\
Traceback (most recent call last):
  File "/work/train.py", line 7, in <module>
    main()
  File "/work/train.py", line 3, in main
    raise ValueError("no such column: price")
ValueError: no such column: price"""


def test_the_first_traceback_is_whole_and_what_follows_is_not_in_it() -> None:
    later = TRACEBACK.replace("price", "later")
    assert errors_of(f"epoch 1\n{TRACEBACK}\nwaiting\n{later}\ncleaning up") == TRACEBACK.splitlines()


def test_a_traceback_of_one_rank_is_told_from_lines_of_another_between() -> None:
    lines = [f"[rank1]: {line}" for line in TRACEBACK.splitlines()]
    mixed = "\n".join(f"{line}\n[rank0]: step 9 loss 0.1" for line in lines)
    assert errors_of(mixed) == TRACEBACK.splitlines()


def test_of_a_long_traceback_the_end_is_kept() -> None:
    frames = "\n".join(f'  File "x.py", line {number}' for number in range(200))
    kept = errors_of(f"Traceback (most recent call last):\n{frames}\nRecursionError: maximum recursion depth exceeded")
    assert len(kept) == MOST_FRAMES
    assert kept[-1].startswith("RecursionError")


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: No matching distribution found for torch==9",
        "fatal: not a git repository",
        "train.sh: line 3: pythn: command not found",
        "cp: cannot stat 'x': No such file or directory",
        "main.c:3:5: error: expected ';' before 'return'",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: CUDA error: device-side assert triggered",
        "E   assert 1 == 2",
        "FAILED tests/test_x.py::test_y - AssertionError",
        "docker: Error response from daemon: Error: no such image",
        "Killed",
        "panic: runtime error: index out of range",
    ],
)
def test_a_line_that_says_what_went_wrong_is_found_between_others(line: str) -> None:
    assert errors_of(f"epoch 1\n{line}\n" + "step\n" * 100) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "epoch 3 val_error: 0.12",
        "test error: 0.03",
        "error: .5",
        "12 passed, 0 failed, 0 errors",
        "mean absolute error 3.2",
        "loading ErrorCorrection weights",
        "downloading errors.csv",
    ],
)
def test_a_measure_or_a_name_is_no_error(line: str) -> None:
    assert errors_of(f"{line}\nlast") == [line, "last"]


def test_the_first_few_errors_are_told_in_order() -> None:
    assert errors_of("\n".join(f"error: number {letter}" for letter in "abcdefgh")) == [
        f"error: number {letter}" for letter in "abcdefgh"[:MOST_ERRORS]
    ]


def test_a_job_that_says_nothing_of_an_error_has_its_last_lines() -> None:
    assert errors_of("\n".join(map(str, range(100))) + "\n\n") == ["95", "96", "97", "98", "99"]


def test_a_job_that_says_nothing_at_all_has_none() -> None:
    assert errors_of("") == []


LIBRARY = """\
Traceback (most recent call last):
  File "/root/sky_workdir/src/train.py", line 12, in <module>
    main()
  File "/usr/lib/python3.11/runpy.py", line 88, in run
  File "/opt/venv/lib/python3.11/site-packages/torch/nn/module.py", line 1511, in _call
    return forward(*args)
  File "<frozen importlib._bootstrap>", line 5, in x
torch.OutOfMemoryError: CUDA out of memory."""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (TRACEBACK, "ValueError: no such column: price (/work/train.py:3)"),
        (LIBRARY, "torch.OutOfMemoryError: CUDA out of memory. (src/train.py:12)"),
        ("ERROR: retrying\n" + LIBRARY, "torch.OutOfMemoryError: CUDA out of memory. (src/train.py:12)"),
        ("main.c:3:5: error: expected ';'\nmake: *** [all] Error 1", "main.c:3:5: error: expected ';'"),
        ("FAILED tests/test_x.py::test_y - assert 1\n", "FAILED tests/test_x.py::test_y - assert 1"),
        ("E   AssertionError: no\ntests/test_x.py:7: AssertionError", "E   AssertionError: no (tests/test_x.py:7)"),
        ("epoch 1\nepoch 2", ""),
        ("", ""),
        ('Traceback (most recent call last):\n  File "x.py", line 1', ""),
    ],
    ids=["python", "in a library", "a warning before", "C", "pytest", "pytest, with its place", "none", "empty", "cut"],
)
def test_the_first_error_is_one_line_with_its_place_in_the_user_s_files(log: str, line: str) -> None:
    errors = FirstErrors()
    for text in log.splitlines():
        errors.line(text)
    assert errors.first_error() == line


def test_the_place_is_kept_where_the_traceback_is_longer_than_what_is_kept() -> None:
    frames = "\n".join(f'  File "/x/site-packages/lib.py", line {number}\n    call()' for number in range(200))
    errors = FirstErrors()
    for text in f'Traceback (most recent call last):\n  File "mine.py", line 4\n{frames}\nValueError: x'.splitlines():
        errors.line(text)
    assert errors.first_error() == "ValueError: x (mine.py:4)"
