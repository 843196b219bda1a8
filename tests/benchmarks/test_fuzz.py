"""What mutated input once broke, and a share of the cases that `python -m benchmarks.fuzz` runs."""

import json
from collections import Counter

import numpy as np
import pytest
from support import fatal_cases
from support.unsealed import unseal

from benchmarks.fuzz import table
from benchmarks.fuzzing import Wrong, running
from benchmarks.fuzzing.running import GENERATORS, Setting, every_case, kind_of, kinds, module, run, run_case
from benchmarks.fuzzing.sets import Bench
from tal_jax.errors import InputError


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("fuzz") / "good")


# Those of trainings and exports take a minute to make ready, in `make fuzz`.
CHEAP = [kind for name in GENERATORS if name not in ("workdirs", "exports") for kind in module(name).KINDS]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return every_case(tmp_path_factory.mktemp("cases"), CHEAP)


@pytest.mark.parametrize("part", range(4))
def test_input_is_read_rightly_or_refused(cases, tmp_path, part):
    run = 0
    for number in range(200 * part, 200 * part + 200):
        if kind_of(number, 1, kinds())[0] in CHEAP:
            outcome = run_case(cases, tmp_path, number, seed=1)
            assert not outcome.found, f"case {number}, {outcome.kind}: {outcome.text}"
            run += 1
    assert run > 150


def wrong(rng, work):
    raise Wrong("x")


def refused(rng, work):
    raise InputError(f"{work}: a{chr(10)}b")


def test_what_a_case_comes_to(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "kinds", lambda: {"one": 1})
    for case, state in ((wrong, "Wrong"), (refused, "refused"), (lambda rng, work: None, "right")):
        outcome = run_case({"one": case}, tmp_path, 3, seed=0)
        assert (outcome.number, outcome.kind, outcome.state, outcome.found) == (3, "one", state, case is wrong)
    assert not list(tmp_path.iterdir())


def test_a_case_may_end_its_process(tmp_path):
    """None of the others is lost: each has its outcome once."""
    numbers = range(12)
    setting = Setting(0, tmp_path, (), fatal_cases.SHARES, fatal_cases.make, patience=1)
    outcomes = sorted(run(numbers, setting, processes=2))
    assert [outcome.number for outcome in outcomes] == list(numbers)
    states = {"right": "right", "dies": "process died", "sleeps": "TimeoutError", "hangs": "process hung",
              "takes": "MemoryError"}  # fmt: skip
    assert {outcome.kind: outcome.state for outcome in outcomes} == states
    assert all(outcome.state == states[outcome.kind] for outcome in outcomes)
    counts = Counter(outcome.found for outcome in outcomes)
    last = table(outcomes).splitlines()[-1].split()
    assert last[:5] == ["all", str(len(numbers)), str(counts[False]), "0", str(counts[True])]


def test_every_kind_has_its_share():
    shares = kinds()
    drawn = Counter(kind_of(number, 0, shares)[0] for number in range(20_000))
    assert drawn.keys() == shares.keys()
    assert min(drawn.values()) > 50


def test_a_npy_header_that_is_no_python(bench, tmp_path):
    """NumPy's own parser of it ended in an error of Python's tokeniser."""
    (tmp_path / "features").mkdir()
    for path in (bench.folder / "features").iterdir():
        data = path.read_bytes()
        (tmp_path / "features" / path.name).write_bytes(data.replace(b"}", b"(") if path.name == "r1.npy" else data)
    with pytest.raises(InputError, match=r"r1\.npy: record r1: not a \.npy file"):
        bench.prepare(bench.annotations, tmp_path / "features", tmp_path / "data")


@pytest.mark.parametrize(
    ("old", "new"), [("float32", "float#2"), ('"a"', '"c"'), ('"x": 3', '"x": 1')], ids=["dtype", "class", "width"]
)
def test_damaged_metadata_is_refused(bench, tmp_path, old, new):
    """A dtype that is none ended in a traceback; a class of another name went unnoticed. Without a seal as well."""
    bench.prepare(bench.annotations, bench.folder / "features", tmp_path / "data")
    unseal(tmp_path / "data")
    path = tmp_path / "data" / "metadata.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=r"metadata\.json: damaged, its checksum does not match"):
        bench.read(tmp_path / "data")


def test_an_index_of_an_unknown_compression(bench, tmp_path):
    """Python's zipfile ended in NotImplementedError."""
    bench.prepare(bench.annotations, bench.folder / "features", tmp_path / "data")
    path = tmp_path / "data" / "training.index.npz"
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, len(data))  # the last entry of the directory; its compression is at byte 10
    first = data.index(b"PK\x01\x02")
    for start in {at, first}:
        data[start + 10] = 97
    path.write_bytes(data)
    unseal(tmp_path / "data")
    with pytest.raises(InputError, match=r"training\.index\.npz: damaged, not an archive"):
        bench.read(tmp_path / "data")


def test_a_set_from_before_there_were_checksums(bench, tmp_path):
    bench.prepare(bench.annotations, bench.folder / "features", tmp_path / "data")
    path = unseal(tmp_path / "data") / "metadata.json"
    values = json.loads(path.read_text())
    del values["tal_jax"]["crc32c"]
    path.write_text(json.dumps(values))
    assert bench.read(tmp_path / "data") == bench.right
    assert np.frombuffer(bench.right["batches"][0], np.float32).any()
