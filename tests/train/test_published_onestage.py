"""The one-stage configs of published sets take two steps at full size, on made-up features of the released layouts."""

import json

import numpy as np
import pytest
from support.commands import run

pytestmark = pytest.mark.slow
CASES = {
    "onestage_thumos": (2048, 4 / 30, ("validation", "test"), (2600, 900), 20),
    "onestage_activitynet": (512, 16 / 15, ("training", "validation"), (110, 60), 3),
    "onestage_hacs:tridet": (2304, 8 / 15, ("training", "validation"), (300, 150), 3),
    "onestage_epic": (2304, 16 / 30, ("training", "validation"), (1500, 2700), 5),
}


@pytest.mark.parametrize("config", CASES)
def test_two_steps(config, tmp_path):
    width, stride, subsets, lengths, classes = CASES[config]
    rng = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    database = {}
    for i, n in enumerate((*lengths, lengths[0])):
        np.save(tmp_path / "features" / f"v{i}.npy", rng.normal(size=(n, width)).astype(np.float16))
        starts = np.sort(rng.uniform(0, 0.8 * n * stride, 8))
        segments = [{"segment": [s, s + 5 * stride], "label": f"c{k % classes}"} for k, s in enumerate(starts)]
        database[f"v{i}"] = {"subset": subsets[i == 2], "duration": n * stride, "annotations": segments}
    (tmp_path / "annotations.json").write_text(json.dumps({"database": database}))
    assert run(
        "prepare", f"--annotations={tmp_path}/annotations.json", f"--features=x={tmp_path}/features",
        f"--stride={stride}", f"--out={tmp_path}/data",
    ).returncode == 0  # fmt: skip
    more = []
    if config == "onestage_activitynet":
        scores = {"results": {id: rng.uniform(size=(1, classes)).tolist() for id in database}}
        scores["class"] = [f"c{k}" for k in range(classes)]
        (tmp_path / "scores.json").write_text(json.dumps(scores))
        more = [f"--config.stages.actionformer.class_scores={tmp_path}/scores.json"]
    path, _, variant = config.partition(":")
    done = run(
        "train", f"--config=configs/{path}.py{variant and ':' + variant}", f"--workdir={tmp_path}/w",
        f"--config.data.dir={tmp_path}/data", "--config.stages.actionformer.steps=2",
        "--config.stages.actionformer.batch_size=2", "--config.stages.actionformer.optimizer.warmup_steps=1",
        "--config.log_every_steps=1", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "w/actionformer/metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(x["loss"]) for x in lines if "loss" in x)
    assert any("average_mAP" in x or "average" in x for x in lines)
