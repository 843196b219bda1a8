"""Generators of damaged input for `python -m benchmarks.fuzz`, one module for each kind.

A module has `cases(folder)`, which makes in an empty folder what its cases need, and returns them: functions of a
random generator and an empty folder to work in. A case is right where it returns, refused where it raises an
`InputError` of one line, and a finding where it raises anything else, such as `Wrong`. Such a module becomes part of
`benchmarks.fuzz` by its name in `GENERATORS` there.
"""

import random
from collections.abc import Callable
from pathlib import Path

Case = Callable[[random.Random, Path], None]


class Wrong(Exception):
    """A result that is not the right one."""
