"""launch.prepare, as a user runs it: what is packed, what is refused, and what an interruption leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tal_jax.data import dataset, proposals
from tal_jax.errors import InputError
from tal_jax.prepare import prepare, workers
from tal_jax.prepare import shards as packing
from tal_jax.prepare.plan import pairs
from tal_jax.stages.predictor import excusing_table

ROOT = Path(__file__).parents[2]


def build(folder, database, arrays):
    """Writes annotations and features of one or several streams; returns the arguments of launch.prepare."""
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps({"database": database}))
    arguments = {"annotations": str(folder / "a.json"), "stride": "0.5", "out": str(folder / "data"), "features": {}}
    for name, stream in arrays.items():
        (folder / name).mkdir(exist_ok=True)
        for id, array in stream.items():
            np.save(folder / name / f"{id}.npy", array)
        arguments["features"][name] = str(folder / name)
    return arguments


def entry(subset="training", duration=10.0, *segments):
    return {
        "subset": subset,
        "duration": duration,
        "annotations": [{"segment": [s, e], "label": label} for s, e, label in segments],
    }


def random_set(folder, count=12, width=6, seed=0):
    rng = np.random.default_rng(seed)
    database, arrays = {}, {}
    for i in range(count):
        length = int(rng.integers(8, 30))
        subset = ["training", "validation", "testing"][i % 3]
        database[f"r{i:03d}"] = entry(subset, length / 2, (0.5, 2.0, "ab"[i // 3 % 2]))
        arrays[f"r{i:03d}"] = rng.standard_normal((length, width)).astype(np.float32)
    return build(folder, database, {"x": arrays}), arrays


def options(arguments, **changes):
    return prepare.Options(**{"workers": 1, **arguments, **changes})


def flags(arguments, **changes):
    words = []
    for name, value in (arguments | changes).items():
        values = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [value]
        words += [f"--{name}={v}" for v in values]
    return words


def command(arguments, **changes):
    return [sys.executable, "-W", "error", "-m", "launch.prepare", *flags(arguments, **changes)]


def run(arguments, **changes):
    return subprocess.run(command(arguments, **changes), cwd=ROOT, capture_output=True, text=True, timeout=600)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_the_command_packs_two_streams_whatever_the_number_of_workers(tmp_path):
    rng = np.random.default_rng(0)
    rgb = {f"r{i}": rng.standard_normal((400 + i, 1024)).astype(np.float32) for i in range(12)}
    flow = {id: array[:, :3].T[:, : len(array) - (id == "r1")] for id, array in rgb.items()}
    database = {
        id: entry("training" if i % 2 else "validation", len(array) / 2, (1, 2, "a"), (3, 3, "a"), (5, 999, "b"))
        for i, (id, array) in enumerate(rgb.items())
    }
    arguments = build(tmp_path, database, {"rgb": rgb, "flow": flow})
    result = run(arguments, workers=2, shard_mb=4)
    assert (result.returncode, result.stderr) == (0, "")
    assert "training              6         12" in result.stdout
    assert "12 segments left out" in result.stdout
    assert "12 segments clipped" in result.stdout
    assert "and 7 more" in result.stdout
    assert "1 recordings cut to their shortest stream:\n  r1: streams of 401, 400 snippets" in result.stdout
    summary = json.loads((tmp_path / "data/summary.json").read_text())
    assert len(summary["notes"]["degenerate"]) == 12
    data = dataset.open_split(tmp_path / "data", "training")
    record = data[0]
    assert record.id == "r1"
    np.testing.assert_array_equal(record.features["flow"], flow["r1"].T.astype(np.float16), strict=True)
    np.testing.assert_array_equal(record.features["rgb"], rgb["r1"][:400].astype(np.float16), strict=True)
    assert record.segments.tolist() == [[1, 2], [5, 401 / 2]]
    assert record.labels.tolist() == [0, 1]
    prepare.prepare(options(arguments, out=str(tmp_path / "again"), shard_mb=4))
    assert content(tmp_path / "again") == content(tmp_path / "data")
    assert len(list((tmp_path / "data").glob("*.tfrecord*"))) > 4
    assert not (tmp_path / "data/unfinished").exists()
    before = content(tmp_path / "data")
    assert "already complete" in prepare.prepare(options(arguments, shard_mb=4))
    assert content(tmp_path / "data") == before
    for changes in ({"dtype": "float32"}, {"stride": "0.25", "accept": ["durations"]}, {"min_seconds": 1.0}):
        with pytest.raises(InputError, match=r"other arguments.*--out"):
            prepare.prepare(options(arguments, shard_mb=4, **changes))
    assert content(tmp_path / "data") == before


def poison(array):
    array = array.copy()
    array[1, 1] = np.nan
    return array


def bad_inputs(tmp_path):
    """(name, words the message must contain, arguments): one for every kind of bad input."""

    def case(name, *words, change=None, database=None, arrays=None, **arguments):
        base, originals = random_set(tmp_path / name)
        path = tmp_path / name / "a.json"
        if database:
            values = json.loads(path.read_text())
            database(values["database"])
            path.write_text(json.dumps(values))
        if arrays:
            for id, array in arrays(originals).items():
                np.save(tmp_path / name / "x" / f"{id}.npy", array)
        if change:
            change(tmp_path / name)
        return name, words, base | arguments

    yield case("missing_file", "r004", "--missing=skip", change=lambda f: (f / "x/r004.npy").unlink())
    yield case(
        "wrong_width", "r004", "r004.npy", "wrong width", arrays=lambda a: {"r004": a["r004"][:, :5]}, width={"x": 6}
    )
    yield case("other_width", "r004", "r004.npy", "--width", arrays=lambda a: {"r004": a["r004"][:, :5]})
    yield case("nan", "r004", "r004.npy", "NaN", arrays=lambda a: {"r004": poison(a["r004"])})
    yield case("empty", "r004", "r004.npy", "empty", arrays=lambda a: {"r004": a["r004"][:0]})
    yield case("too_large", "r004", "too large for float32", arrays=lambda a: {"r004": a["r004"].astype(float) * 1e300})
    yield case("all_square", "r000", "--layout", arrays=lambda a: {id: np.ones((6, 6)) for id in a})
    yield case("label", "r001", "U+001B", database=lambda d: d["r001"]["annotations"][0].update(label="z\x1b"))
    yield case("subset", "r001", "holdout", database=lambda d: d["r001"].update(subset="holdout"))
    yield case("path", "../r", "file name", database=lambda d: d.update({"../r": d.pop("r001")}))
    yield case("twice", "r001", "twice", change=lambda f: repeat(f / "a.json"))
    yield case("json", "a.json", change=lambda f: (f / "a.json").write_text("{"))
    yield case("pickle", "r004.pkl", "r004", "system", change=lambda f: evil(f / "x"))
    yield case("both", "r004", "r004.csv and r004.npy", change=lambda f: (f / "x/r004.csv").write_text("1\n"))
    yield case("resized", "r001", "duration", database=lambda d: d["r001"].update(duration=None), stride="resized")
    yield case("stride", "--stride=-1", stride="-1")
    yield case("no_recordings", "a.json", database=lambda d: d.clear())
    yield case("no_folder", "absent", features={"x": str(tmp_path / "absent")})
    yield case("no_width", "--width=y", width={"y": "6"})
    yield case("occupied", "not empty", change=lambda f: ((f / "data").mkdir(), (f / "data/x").touch()))
    yield case("not_a_folder", "data", "--out", change=lambda f: (f / "data").touch())
    name, _, base = case("lengths")
    other = build(tmp_path / name, {}, {"y": {f"r{i:03d}": np.ones((3, 2)) for i in range(12)}})
    base["features"] |= other["features"]
    random_set(tmp_path / name)
    yield name, ("record r00", "3 snippets"), base


def repeat(path):
    path.write_text(path.read_text().replace('"r001"', '"r001": {}, "r001"'))


def evil(folder):
    (folder / "r004.npy").unlink()
    (folder / "r004.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


DRIVER = """
import json, os, sys
from absl import flags
from launch import prepare
from tal_jax.commands import app
sys.argv[0] = prepare.__file__
for arguments in json.load(sys.stdin):
    pid = os.fork()
    if not pid:
        sys.argv[1:] = arguments
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        app.run(prepare.main)
    _, status = os.waitpid(pid, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), open("stderr").read()]))
"""


def test_bad_input_is_one_line_and_leaves_no_set(tmp_path):
    cases = list(bad_inputs(tmp_path))
    # one process imports everything and forks for each case: a start takes longer than most cases
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=json.dumps([flags({"workers": 2, **arguments}) for _, _, arguments in cases]),
        capture_output=True,
        text=True,
        timeout=600,
    )
    results = [json.loads(line) for line in driver.stdout.splitlines()]
    assert len(results) == len(cases), driver.stderr
    for (name, words, arguments), (status, stderr) in zip(cases, results, strict=True):
        assert status == 2, (name, stderr)
        assert stderr.count("\n") == 1, (name, stderr)
        assert stderr.startswith("launch.prepare: error: "), (name, stderr)
        for word in words:
            assert word in stderr, (name, stderr)
        out = Path(arguments["out"])
        assert not (out / "dataset_info.json").exists(), name
        if name not in ("occupied", "not_a_folder") and out.exists():  # shards that another worker finished in time
            assert {path.name.split(".")[-1][:8] for path in out.iterdir()} <= {"unfinished"[:8], "tfrecord"}, name
            assert list(out.glob("unfinished/*.done.json")), name
    assert not (tmp_path / "pwned").exists()


def test_an_error_in_a_worker_process_is_the_same_one_line(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"r{i}": rng.standard_normal((500, 1024)).astype(np.float32) for i in range(12)}
    arrays["r7"][300, 5] = np.inf
    arguments = build(tmp_path, {id: entry("training", 250, (1, 2, "a")) for id in arrays}, {"x": arrays})
    result = run(arguments, workers=2, shard_mb=2)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for word in ("r7.npy", "record r7", "snippet 300"):
        assert word in result.stderr
    assert not (tmp_path / "data/dataset_info.json").exists()
    arrays["r7"][300, 5] = 0
    np.save(tmp_path / "x/r7.npy", arrays["r7"])  # of the same size: the run goes on
    prepare.prepare(options(arguments, shard_mb=2))
    data = dataset.open_split(tmp_path / "data", "training")
    assert data[list(data.ids).index("r7")].features["x"][300, 5] == 0


def test_a_killed_run_is_incomplete_and_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"r{i:02d}": rng.standard_normal((600, 1024)).astype(np.float32) for i in range(60)}
    arguments = build(tmp_path, {id: entry("training", 300, (1, 2, "a")) for id in arrays}, {"x": arrays})
    out = tmp_path / "data"
    process = subprocess.Popen(command(arguments, workers=2, shard_mb=5), cwd=ROOT, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 300
        while len(list(out.glob("unfinished/*done.json"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(InputError, match="not finished"):
        dataset.read_metadata(out)
    assert not (out / "dataset_info.json").exists()
    (out / "tal_jax-training.tfrecord-00000-of-00012.1.tmp").write_bytes(b"left by a killed worker")
    with pytest.raises(InputError, match=r"unfinished set of other arguments.*--out"):
        prepare.prepare(options(arguments, shard_mb=5, dtype="float32"))
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord*-of-?????")}
    first = min(done)
    (first).write_bytes(first.read_bytes()[:-1])  # truncated: written again
    notes = {Path(out / p.name.removesuffix(".done.json")) for p in out.glob("unfinished/*.done.json")}
    prepare.prepare(options(arguments, shard_mb=5))
    prepare.prepare(options(arguments, shard_mb=5, out=str(tmp_path / "fresh")))
    assert content(out) == content(tmp_path / "fresh")
    kept = [path for path in notes - {first} if path.stat().st_mtime_ns == done[path]]
    assert len(kept) == len(notes - {first}) >= 1


def test_no_worker_outlives_a_killed_run(tmp_path):
    code = (
        "import os, time\nfrom tal_jax.prepare import workers\nfrom tests_task import task\n"
        "if __name__ == '__main__': list(workers.run(task, [1, 2], 2))"
    )
    (tmp_path / "tests_task.py").write_text(
        "import os, pathlib, time\n"
        "def task(argument, stop):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'pid{{argument}}').write_text(str(os.getpid()))\n"
        "    time.sleep(1000)\n"
    )
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py")], env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    )
    paths = [tmp_path / "pid1", tmp_path / "pid2"]
    deadline = time.monotonic() + 300
    try:
        while not all(path.exists() and path.read_text() for path in paths):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    for path in paths:
        while running(int(path.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def running(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small tmpfs takes root")
def test_a_full_disk_is_one_line_and_can_go_on(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"r{i:02d}": rng.standard_normal((600, 1024)).astype(np.float32) for i in range(10)}
    arguments = build(tmp_path, {id: entry("training", 300, (1, 2, "a")) for id in arrays}, {"x": arrays})
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", small], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.strip()}")
    try:
        for count in (1, 2):
            result = run(arguments, out=small / "data", workers=count, shard_mb=5)
            assert result.returncode == 2
            assert result.stderr.count("\n") == 1, result.stderr
            assert "no space left on the device" in result.stderr
            assert "tfrecord" in result.stderr
            assert not list(small.glob("**/*.tmp"))
            assert not (small / "data/dataset_info.json").exists()
        subprocess.run(["mount", "-o", "remount,size=60m", small], check=True)
        prepare.prepare(options(arguments, out=str(small / "data"), shard_mb=5))
        assert len(dataset.open_split(small / "data", "training")) == 10
    finally:
        subprocess.run(["umount", small], check=True)


def test_left_out_recordings_are_counted_and_classes_keep_their_numbers(tmp_path):
    arguments, arrays = random_set(tmp_path)
    (tmp_path / "x/r000.npy").unlink()
    (tmp_path / "list").write_text("r003\nr006\nabsent\n")  # with r000, all but one of the training set
    text = prepare.prepare(options(arguments, missing="skip", damaged=str(tmp_path / "list")))
    assert "2 recordings left out as damaged:\n  r003" in text
    assert "1 recordings left out without features:\n  r000" in text
    metadata = dataset.read_metadata(tmp_path / "data")
    assert metadata.splits == {"training": 1, "validation": 4, "testing": 4}
    assert metadata.labels == ("a", "b")
    assert len(arrays) == 12


def test_without_training_recordings_the_first_split_gives_the_classes(tmp_path):
    x = np.ones((20, 3), np.float32)
    database = {"v": entry("validation", None, (1, 2, "a")), "t": entry("test", None, (1, 20, "a"))}
    arguments = build(tmp_path, database, {"x": {"v": x, "t": x[:10]}})
    prepare.prepare(options(arguments))
    record = dataset.open_split(tmp_path / "data", "testing")[0]
    assert record.duration == 5  # 10 snippets of 0.5 s
    assert record.segments.tolist() == [[1, 5]]
    database["t"]["annotations"][0]["label"] = "b"
    build(tmp_path, database, {})
    text = prepare.prepare(options(arguments, out=str(tmp_path / "other")))
    assert "1 classes without a training example:\n  b: in 1 recordings of testing: AP 0 is likely" in text


def test_recordings_without_annotations_can_be_prepared_for_detection(tmp_path):
    arguments = build(tmp_path, {"mine": {"subset": "testing"}}, {"x": {"mine": np.ones((9, 4), np.float32)}})
    prepare.prepare(options(arguments))
    metadata = dataset.read_metadata(tmp_path / "data")
    assert (metadata.labels, metadata.segment_seconds, metadata.segments_per_recording) == ((), (), 0)
    assert dataset.open_split(tmp_path / "data", "testing")[0].segments.shape == (0, 2)


def test_labels_without_segments_are_classes_of_the_set(tmp_path):
    """Whatever becomes of a recording's segments, what it shows is kept."""
    segments = [(3, 3, "d"), (50, 60, "c"), (1, 1.5, "b"), (4, 8, "b")]
    database = {id: entry("training", 10.0, *segments) for id in ("mixed", "segments")}
    database["mixed"]["annotations"] += [{"label": "e"}, {"label": "b"}, {"label": "a"}]
    database["alone"] = {"subset": "training", "annotations": [{"label": "c"}]}
    database["nothing"] = entry("validation", 10.0)
    arguments = build(tmp_path, database, {"x": {id: np.ones((20, 2), np.float32) for id in database}})
    text = prepare.prepare(options(arguments, min_seconds=1.0))
    assert "2 recordings with labels without segments:\n  alone: c\n  mixed: a, e\n" in text + "\n"
    data = dataset.open_split(tmp_path / "data", "training")
    assert data.metadata.labels == tuple("abcde")
    records = {record.id: record for record in (data[i] for i in range(3))}
    present = {id: record.present.tolist() for id, record in records.items()}
    assert present == {"alone": [2], "mixed": [0, 1, 2, 3, 4], "segments": [1, 2, 3]}
    assert {id: record.labels.tolist() for id, record in records.items()} == {
        "alone": [],
        "mixed": [1],
        "segments": [1],
    }
    assert records["alone"].segments.shape == (0, 2)
    assert data.metadata.segments_per_recording == 1
    assert dataset.open_split(tmp_path / "data", "validation")[0].present.shape == (0,)
    database["nothing"]["annotations"] = [{"label": "z"}]
    build(tmp_path, database, {})
    prepare.prepare(options(arguments, out=str(tmp_path / "other")))
    assert dataset.open_split(tmp_path / "other", "validation")[0].present.tolist() == [5]  # z, after a to e


def test_classes_without_training_examples_are_classes_of_the_set(tmp_path):
    database = {
        "t": entry("training", 10.0, (1, 2, "jump"), (3, 4, "only in training")),
        "v": entry("validation", 10.0, (1, 2, "Jmp"), (5, 6, "jump")),
        "w": entry("validation", 10.0, (1, 2, "zebra")),
        "x": entry("test", 10.0, (1, 2, "zebra")),
    }
    arguments = build(tmp_path, database, {"x": {id: np.ones((20, 2), np.float32) for id in database}})
    text = prepare.prepare(options(arguments))
    assert (
        "2 classes without a training example:\n"
        "  Jmp: in 1 recordings of validation: did you mean 'jump'?\n"
        "  zebra: in 1 recordings of validation, 1 recordings of testing: AP 0 is likely\n"
    ) in text + "\n"
    validation = dataset.open_split(tmp_path / "data", "validation")
    assert validation.metadata.labels == ("Jmp", "jump", "only in training", "zebra")
    assert [validation[i].labels.tolist() for i in range(2)] == [[0, 1], [3]]


def test_ignored_classes_are_no_classes_and_their_segments_stay_known(tmp_path):
    database = {
        "t": entry("training", 10.0, (1, 2, "jump"), (-3, 4, "Ambiguous"), (8, 30, "Ambiguous"), (11, 12, "Ambiguous")),
        "u": entry("training", 10.0, (3, 4, "Ambiguous")),
        "v": entry("validation", 10.0, (1, 2, "jump")),
    }
    database["v"]["annotations"] += [{"label": "unsure"}]
    arguments = build(tmp_path, database, {"x": {id: np.ones((20, 2), np.float32) for id in database}})
    text = prepare.prepare(options(arguments, ignore_labels=("Ambiguous", "unsure")))
    assert (
        "2 classes ignored:\n  Ambiguous: 4 segments in 2 recordings\n  unsure: 0 segments in 1 recordings\n"
    ) in text + "\n"
    assert "labels without segments" not in text
    training = dataset.open_split(tmp_path / "data", "training")
    assert (training.metadata.labels, training.metadata.ignored) == (("jump",), ("Ambiguous", "unsure"))
    assert training[0].ignored.tolist() == [[0, 4], [8, 10]]  # what lies within the recording
    assert training[0].segments.tolist() == [[1, 2]]
    assert (training[1].ignored.tolist(), training[1].present.tolist()) == ([[3, 4]], [])
    table = excusing_table(training, np.array([1, 0]))
    assert table.recording.tolist() == [1, 0, 0]
    assert table.segments.tolist() == [[3, 4], [0, 4], [8, 10]]
    with pytest.raises(InputError, match="other arguments"):
        prepare.prepare(options(arguments))
    text = prepare.prepare(options(arguments, out=str(tmp_path / "all")))
    assert "1 classes that THUMOS14's kit neither trains nor counts:\n  Ambiguous: a class as any other" in text
    everything = dataset.open_split(tmp_path / "all", "training")
    assert everything.metadata.labels == ("Ambiguous", "jump", "unsure")
    assert everything[0].ignored.shape == (0, 2)
    assert excusing_table(everything, np.array([0])) is None
    with pytest.raises(InputError, match=r"--ignore_labels: no annotation has .* did you mean 'Ambiguous'\?"):
        prepare.prepare(options(arguments, out=str(tmp_path / "other"), ignore_labels=("ambiguous",)))


def test_lists_of_damaged_recordings_say_what_they_miss(tmp_path):
    """As others write them: with "v_", a byte order mark and Windows' line ends."""
    arguments, _ = random_set(tmp_path)
    (tmp_path / "list").write_bytes("\ufeffv_r003\r\n\r\nr006.mp4\r\nr0006\r\n".encode())
    text = prepare.prepare(options(arguments, damaged=str(tmp_path / "list")))
    assert "2 recordings left out as damaged:\n  r003: listed in --blocked\n  r006" in text
    assert "1 ids in --blocked that no recording has:\n  r0006: did you mean 'r00" in text
    (tmp_path / "list").write_text("nobody\n")
    with pytest.raises(InputError, match=r"--blocked=.*list: none of its 1 ids is a recording \(first: 'nobody'; ids"):
        prepare.prepare(options(arguments, out=str(tmp_path / "other"), damaged=str(tmp_path / "list")))
    assert not (tmp_path / "other").exists()
    prepare.prepare(options(arguments, out=str(tmp_path / "other"), damaged="hacs"))  # has none of them


def test_sets_without_label_only_annotations_have_no_word_on_them(tmp_path):
    arguments, _ = random_set(tmp_path)
    assert "without segments" not in prepare.prepare(options(arguments))
    assert "labels only" not in (tmp_path / "data/summary.json").read_text()


def test_resized_features_cover_each_recording_evenly(tmp_path):
    database = {"r": entry("training", 30.0, (1, 2, "a"), (3, 5, "a")), "s": entry("training", 6.0, (1, 2.5, "a"))}
    arrays = {"r": np.ones((10, 2), np.float32), "s": np.ones((10, 2), np.float32)}
    arguments = build(tmp_path, database, {"x": arrays})
    text = prepare.prepare(options(arguments, stride="resized", min_seconds=1.0))
    data = dataset.open_split(tmp_path / "data", "training")
    assert data.metadata.stride is None
    assert [data[i].stride for i in range(2)] == [3.0, 0.6]
    assert data[0].segments.tolist() == [[3, 5]]
    assert "1 segments left out, not longer than --min_seconds" in text
    assert "1 layouts assumed" in text
    text = prepare.prepare(options(arguments, out=str(tmp_path / "wrong")))
    assert "1 recordings whose snippets x stride is far from their duration:\n  r: 10 snippets" in text


def test_dtypes(tmp_path):
    arguments, arrays = random_set(tmp_path)
    arrays["r000"][0, 0] = 70_000.0
    np.save(tmp_path / "x/r000.npy", arrays["r000"].astype(np.float64))
    text = prepare.prepare(options(arguments))
    assert "x: stored as float32: float16 does not hold 7e+04 of channel 0 (record r000)" in text
    got = dataset.open_split(tmp_path / "data", "training")[0].features["x"]
    np.testing.assert_array_equal(got, arrays["r000"], strict=True)
    for dtype in ("bfloat16", "float32"):
        prepare.prepare(options(arguments, dtype=dtype, out=str(tmp_path / dtype)))
        got = dataset.open_split(tmp_path / dtype, "training")[0].features["x"]
        assert got.dtype.name == dtype
        np.testing.assert_allclose(got.astype(np.float32), arrays["r000"], rtol=0 if dtype == "float32" else 1 / 256)
    np.save(tmp_path / "x/r000.npy", arrays["r000"].astype(np.float64) * 1e38)
    with pytest.raises(InputError, match=r"7e\+42, too large for float32, in snippet 0"):
        prepare.prepare(options(arguments, dtype="float32", out=str(tmp_path / "other")))


def test_proposals_are_packed(tmp_path):
    arguments, arrays = random_set(tmp_path)
    (tmp_path / "csv").mkdir()
    for i, id in enumerate(list(arrays)[:-1]):
        (tmp_path / "csv" / f"v_{id}.csv").write_text(f"xmin,xmax,score\n0,1,0.5\n1,{i + 2},0.75\n")
    text = prepare.prepare(options(arguments, proposals=str(tmp_path / "csv")))
    assert "1 recordings without a proposal file:\n  r011" in text
    got = proposals.read(tmp_path / "data")
    assert len(got) == 11
    assert got["r003"][0].tolist() == [[1, 5], [0, 1]]
    (tmp_path / "csv/v_r004.csv").write_text("xmin,xmax,score\n2,1,0.5\n")
    with pytest.raises(InputError, match=r"v_r004\.csv"):
        prepare.prepare(options(arguments, proposals=str(tmp_path / "csv"), out=str(tmp_path / "other")))
    assert not (tmp_path / "other/dataset_info.json").exists()


def test_two_runs_cannot_write_one_set(tmp_path):
    arguments, _ = random_set(tmp_path)
    plan = prepare.make_plan(options(arguments))
    with prepare._claim(tmp_path / "data", plan), pytest.raises(InputError, match=r"another launch\.prepare"):
        prepare.prepare(options(arguments))


def test_damaged_notes_of_an_unfinished_set(tmp_path):
    """A shard whose note is damaged is written again; without the note of its types, nobody knows what it holds."""
    arguments, _ = random_set(tmp_path)
    plan = prepare.make_plan(options(arguments))
    with prepare._claim(tmp_path / "data", plan) as unfinished:
        shard = next(prepare._shards(tmp_path / "data", unfinished, plan))
        packing.write_shard(shard, lambda: False)
        for content in ("[" * 100_000, "[]", '{"digest": "x"}'):
            Path(shard.done_path).write_text(content)
            assert packing.read_done(shard) is None
        (unfinished / prepare.HARMED).write_text("3")
    with pytest.raises(InputError, match=r"harmed\.json: damaged, not the names of streams: .* remove .*data, and"):
        prepare.prepare(options(arguments))


def test_feature_files_that_change_are_packed_again(tmp_path):
    arguments, arrays = random_set(tmp_path)
    plan = prepare.make_plan(options(arguments))
    with prepare._claim(tmp_path / "data", plan) as unfinished:
        shard = next(prepare._shards(tmp_path / "data", unfinished, plan))
        packing.write_shard(shard, lambda: False)
        assert packing.read_done(shard) is not None
        path = tmp_path / "x" / "r000.npy"
        np.save(path, arrays["r000"] + 1)
        os.utime(path, ns=(1, 1))
        assert packing.read_done(shard) is None
    prepare.prepare(options(arguments))
    got = dataset.open_split(tmp_path / "data", "training")[0]
    np.testing.assert_array_equal(got.features["x"], (arrays["r000"] + 1).astype(np.float16))


def fail_on_two(argument, stop):
    if argument == 2:
        raise InputError("two")
    deadline = time.monotonic() + 200
    while not stop():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    raise packing.Stopped


def killed(argument, stop):
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_first_error_stops_the_other_workers():
    begin = time.monotonic()
    with pytest.raises(InputError, match="two"):
        list(workers.run(fail_on_two, [1, 2, 3, 4], 2))
    assert time.monotonic() - begin < 150


def test_a_killed_worker_is_bad_luck_not_a_bug():
    with pytest.raises(InputError, match="fewer --workers"):
        list(workers.run(killed, [1, 2], 2))


def test_nothing_in_the_data_layer_imports_jax():
    code = "import sys; import tal_jax.prepare.prepare; assert not {'jax', 'tensorflow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_arguments_of_the_form_name_value():
    assert pairs("features", ["rgb=/a=b", "flow=/c"]) == {"rgb": "/a=b", "flow": "/c"}
    for values in (["rgb"], ["=x"], ["rgb="], ["a/b=c"], ["rgb=1", "rgb=2"]):
        with pytest.raises(InputError, match="--features"):
            pairs("features", values)


def test_a_failed_first_run_leaves_an_empty_folder_as_it_was(tmp_path):
    arguments, _ = random_set(tmp_path)
    np.save(tmp_path / "x/r000.npy", np.full((8, 6), np.nan))
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="NaN"):
        prepare.prepare(options(arguments))
    assert list((tmp_path / "data").iterdir()) == []
