"""Keep the modules of a working folder out of cvl-ci's own processes."""

FROM_NO_FOLDER = {"PYTHONSAFEPATH": "1"}
"""A `random.py` or `queue.py` of a person would take the place of Python's module.

Python reads this variable from 3.11 on.
"""
