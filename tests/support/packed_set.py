"""A small packed set of real videos whose classes a small network can tell, and a config to train it with."""

import json

import numpy as np

from support import videos

CLASSES = ("bright", "dark", "left", "right")


def picture(label, k, seed):
    """Image k of a video of a class: grey levels, or a bright half, with noise of its own."""
    rng = np.random.default_rng((seed, k))
    image = rng.integers(90, 130, (48, 64, 3))
    half = {"left": np.s_[:, :32], "right": np.s_[:, 32:]}.get(label, np.s_[:, :])
    image[half] += {"dark": -80}.get(label, 80)
    return image.astype(np.uint8)


def pack_videos(folder, count=4):
    """Packs `count` videos of each class for training, one for validation, two segments each; returns the set."""
    from tal_jax.recognition.pack import Options, pack

    (folder / "videos").mkdir()
    database = {}
    for c, label in enumerate(CLASSES):
        for i in range(count + 1):
            id = f"{label}{i}"
            videos.write(
                folder / "videos" / f"{id}.mp4", videos.regular(24), codec="libx264",
                draw=lambda k, label=label, seed=10 * c + i: picture(label, k, seed),
            )  # fmt: skip
            segments = [{"segment": [0.0, 0.4], "label": label}, {"segment": [0.4, 0.8], "label": label}]
            database[id] = {"subset": "training" if i < count else "validation", "annotations": segments}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    pack(Options(str(folder / "videos"), str(folder / "set"), str(folder / "annotations.json"), fps=10.0, short_side=48,
                 workers=1))  # fmt: skip
    return folder / "set"


def recognition_config(data="", **stage):
    """A config of the encoder `learner`, whose values `stage` changes."""
    from tal_jax.stages.config import default_config

    config = default_config(recognition="recognition")
    config.data.dir, config.log_every_steps, config.checkpoint.every_steps = str(data), 1, 5
    section = config.stages.recognition
    section.model.update(encoder="learner", dropout=0.0)
    section.update(steps=20, batch_size=8, eval_every_steps=0, crop="centre", flip=0.0)
    section.optimizer.update(method="sgd", learning_rate=0.05, schedule="constant")
    section.update(stage)
    return config
