"""launch.ladder: rows trained one after the other and measured alike, by the command as a user types it."""

import json
import shutil

import numpy as np
import pytest
from support.clip_set import prepare_clip_set
from support.commands import run

from tal_jax.data import annotations
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.ground_truth import select
from tal_jax.experiments import weak_ablation as climb

pytestmark = pytest.mark.slow

CONFIG = """
from support.clip_set import tiny_weak_config

def get_config(row):
    config = tiny_weak_config("", row)
    config.stages.mgfn.steps = config.stages.trimmed.steps = 10
    config.stages.mgfn.options.update(thresholds=3, candidates=16, detections=8)  # decoded hundreds of times
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    prepare_clip_set(folder)
    (folder / "config.py").write_text(CONFIG)
    return folder


def ladder(folder, *arguments):
    return run(
        "ladder", f"--config={folder / 'config.py'}", f"--data={folder / 'data'}",
        f"--ground_truth={folder / 'annotations.json'}", f"--out={folder / 'out'}", *arguments,
    )  # fmt: skip


def test_rows_are_trained_measured_and_drawn(folder):
    rows = "--rows=cas,full"
    first = ladder(folder, rows)
    assert first.returncode == 0, first.stderr
    out = folder / "out"
    low = json.loads((out / "ladder.json").read_text())
    scores = json.loads((out / "scores.json").read_text())
    assert list(low) == ["cas", "full"] == list(scores)
    recordings = annotations.read(folder / "annotations.json")
    for row in low:
        assert set(scores[row]) == {"unsmoothed", "config", "tuned"}
        assert low[row] == scores[row]["config"][0]
        chosen = select(recordings, submission.read(out / f"{row}.json"), "validation")
        for tiou, value in zip((np.arange(1, 8) / 10, np.arange(10, 20) / 20), scores[row]["config"], strict=True):
            result = evaluate_detections(chosen.truth, chosen.detections, chosen.labels, np.round(tiou, 2))
            np.testing.assert_allclose(result.average, value, atol=1e-3)  # the file rounds times and scores
        assert f"{100 * low[row]:.1f}" in first.stdout
    assert (out / "cas.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "shared" / "trimmed" / "clip_features.parquet").exists()
    assert not list(out.glob("*/trimmed/clip_features.parquet"))[1:]

    kept = shutil.copy(out / "cas.json", folder / "kept.json")  # the row writes its own anew
    again = ladder(folder, rows, f"--supervised={kept}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished, nothing to do") == 3  # mgfn of both rows, trimmed of one
    assert json.loads((out / "ladder.json").read_text()) == low
    supervised = json.loads((out / "scores.json").read_text())["supervised"]
    np.testing.assert_allclose(supervised, scores["cas"]["config"], atol=1e-3)

    alone = ladder(folder, "--rows=full")
    assert alone.returncode == 0, alone.stderr
    assert json.loads((out / "ladder.json").read_text()) == {"full": low["full"]}


def test_unknown_rows_and_files_are_refused(folder):
    with pytest.raises(InputError, match=r"no row 'mdcm2'.*one of cas, mdcm"):
        climb.load_rows(str(folder / "config.py"), ["mdcm2"], "", 0)
    with pytest.raises(InputError, match="no such file"):
        climb.load_rows(str(folder / "nothing.py"), ["cas"], "", 0)
