"""Generators of damaged and odd input for `python -m benchmarks.fuzz`, one module for each subject.

A module has `KINDS`, the names of its kinds of cases with their shares, and `cases(folder)`, which makes in a folder
what they need, unless an earlier call did, and returns a function for each. It takes a random generator and an empty
folder to work in. A case is right where it returns, refused where it raises an `InputError` of one line, and a finding
where it raises anything else, such as `Wrong`. Such a module becomes part of `benchmarks.fuzz` by its name in
`GENERATORS` of `benchmarks.fuzzing.running`.
"""

import random
from collections.abc import Callable
from pathlib import Path

Case = Callable[[random.Random, Path], None]


class Wrong(Exception):
    """A result that is not the right one, or a refusal of something good."""
