"""How long a program for a TPU takes by its compiler's reckoning: cycles of operations, loops as often as they run.

XLA's own sum, `cost_analysis()["optimal_seconds"]`, counts the body of a loop once, and -1 second for operations that
it knows nothing of, so that large programs take less than no time. The text of a compiled program has, beside most
operations, the cycles that the scheduler expects. Waiting for other devices is in neither.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# GHz, such that matrix units of 128 x 128 give the published peak: 275, 197 and 459 Tera-operations a second in
# bfloat16 of 8, 4 and 8 of them. Of v6e Google publishes too little.
CLOCK = {"v4": 1.05, "v5e": 1.5, "v5p": 1.75}

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALL = re.compile(r" call\(.*to_apply=%?([\w.\-]+)")
_BRANCHES = re.compile(r" conditional\(.*(?:branch_computations=\{([^}]*)\}|true_computation=.*)")
_BRANCH = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
_LIMIT = re.compile(r"= [su]32\[\]\S* constant\((\d+)\)")


@dataclass(frozen=True)
class Loop:
    """A loop without others in it."""

    runs: int  # of its body in all, also through the loops around it
    cycles: float  # of its body, once


@dataclass(frozen=True)
class Cycles:
    """What a program takes."""

    total: float
    loops: Sequence[Loop]  # the innermost ones
    endless: int = 0  # loops whose number of runs is not in the text; their bodies count once

    def seconds(self, generation: str) -> float:
        """By the clock of "v5e" or another; 0 where that is not known."""
        return self.total / CLOCK[generation] / 1e9 if generation in CLOCK else 0.0


def cycles(text: str) -> Cycles:
    """The cycles of a program.

    Args:
      text: as `compiled.as_text()` gives it. Of the branches of a conditional the longest counts; a loop runs from 0 to
        the one constant of its condition.
    """
    bodies, entry = _computations(text)
    loops: list[Loop] = []
    endless = 0

    def of(name: str, runs: int) -> float:
        nonlocal endless
        total, lines = 0.0, bodies.get(name, ())
        for line in lines:
            if found := _CYCLES.search(line):
                total += int(found[1])
            if found := _WHILE.search(line):
                times = _runs(bodies.get(found[1], ()))
                endless += times is None
                inside = len(loops)
                once = of(found[2], runs * (times or 1))
                if len(loops) == inside:
                    loops.append(Loop(runs * (times or 1), once))
                total += (times or 1) * once
            elif found := _CALL.search(line):
                total += of(found[1], runs)
            elif found := _BRANCHES.search(line):
                names = re.findall(r"[\w.\-]+", found[1]) if found[1] else _BRANCH.findall(line)
                total += max((of(branch, runs) for branch in names), default=0.0)
        return total

    return Cycles(of(entry, 1), loops, endless)


def _computations(text: str) -> tuple[Mapping[str, Sequence[str]], str]:
    """The lines of every computation by its name, and the name of the one where the program begins."""
    found: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            lines = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return found, entry


def _runs(condition: Sequence[str]) -> int | None:
    limits = [int(found[1]) for line in condition if (found := _LIMIT.search(line))]
    return limits[0] if len(limits) == 1 and any("direction=LT" in line for line in condition) else None
