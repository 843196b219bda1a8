"""Cycles from the text of a program: loops, calls, branches, and what is not known."""

import pytest

from tal_jax.experiments.tpu_cycles import cycles

PROGRAM = """
%inner_condition (p: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(30)
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%inner (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = f32[8] fusion(%x), backend_config={"estimated_cycles":"7"}
}

%outer_condition (p: (s32[], f32[8])) -> pred[] {
  %limit.1 = s32[]{:T(128)} constant(5)
  ROOT %lt.1 = pred[] compare(%i, %limit.1), direction=LT
}

%outer (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %b = f32[8] fusion(%x), backend_config={"estimated_cycles":"100"}
  %while.1 = (s32[], f32[8]) while(%t), condition=%inner_condition, body=%inner
}

%until_done (p: (s32[], f32[8])) -> pred[] {
  ROOT %gt = pred[] compare(%change, %limit), direction=GT
}

%called (p: f32[8]) -> f32[8] {
  %c = f32[8] fusion(%x), backend_config={"estimated_cycles":"3"}
}

%branch.1 (p: f32[8]) -> f32[8] {
  %d = f32[8] fusion(%x), backend_config={"estimated_cycles":"20"}
}

%branch.2 (p: f32[8]) -> f32[8] {
  %e = f32[8] fusion(%x), backend_config={"estimated_cycles":"50"}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %f = f32[8] fusion(%x), backend_config={"flag_configs":[],"estimated_cycles":"1000","x":1}
  %g = f32[8] bitcast(%f)
BODY
}
"""
LOOP = "  %while.2 = (s32[], f32[8]) while(%t), condition=%outer_condition, body=%outer, metadata={}"


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ("", 1000),
        (LOOP, 1000 + 5 * (100 + 30 * 7)),
        ("  %h = f32[8] call(%g), to_apply=%called", 1003),
        ("  %h = f32[8] conditional(%i, %g, %g), branch_computations={%branch.1, %branch.2}", 1050),
        ("  %h = f32[8] conditional(%i, %g, %g), true_computation=%branch.2, false_computation=%branch.1", 1050),
    ],
)
def test_total(body, total):
    found = cycles(PROGRAM.replace("BODY", body))
    assert found.total == total
    assert found.endless == 0
    assert found.seconds("v5e") == pytest.approx(total / 1.5e9)
    assert found.seconds("v6e") == 0


def test_innermost_loops():
    (loop,) = cycles(PROGRAM.replace("BODY", LOOP)).loops
    assert (loop.runs, loop.cycles) == (150, 7)


def test_a_loop_that_ends_by_its_results_counts_once():
    found = cycles(PROGRAM.replace("BODY", LOOP).replace("condition=%inner_condition", "condition=%until_done"))
    assert (found.total, found.endless) == (1000 + 5 * (100 + 7), 1)
