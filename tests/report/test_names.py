"""Names of what a page compares."""

import pytest

from tal_jax.errors import InputError
from tal_jax.report.names import named


def test_names():
    assert named(["a.json"], "--x") == {"a": "a.json"}
    assert named(["first=x/a.json", "x/b.json"], "--x") == {"first": "x/a.json", "b": "x/b.json"}
    assert named(["x/d.json", "y/d.json"], "--x") == {"x/d": "x/d.json", "y/d": "y/d.json"}


def test_a_file_with_an_equals_sign(tmp_path):
    path = tmp_path / "lr=1.json"
    path.write_text("")
    assert named([str(path)], "--x") == {"lr=1": str(path)}


@pytest.mark.parametrize("given", [["a=x", "a=y"], ["x.json", "x.json"], ["a\n=x"]])
def test_refused(given):
    with pytest.raises(InputError, match="--x=NAME=PATH"):
        named(given, "--x")
