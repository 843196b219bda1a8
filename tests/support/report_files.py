"""Annotation and detections files for reports: a few recordings, or as many as ActivityNet's validation set has."""

import json

import numpy as np

HOSTILE = '<img src=x onerror="document.body.dataset.hacked=1">'
HOSTILE_ID = "<script>document.body.dataset.hacked=1<"  # an id has no slash
HOSTILE_UNKNOWN = "</script><script>document.body.dataset.hacked=1</script><!--<b>"


def write_files(folder, *, recordings=12, classes=4, per_recording=15, seed=0, hostile=False, name="d"):
    """Writes FOLDER/a.json and FOLDER/NAME.json and returns their paths.

    One recording has no truth, one no detections and no entry, one no duration, one belongs to another subset; some
    detections have an unknown class, or an unknown recording.
    """
    rng = np.random.default_rng(seed)
    labels = [f"class {k}" for k in range(classes)]
    if hostile:
        labels[0] = HOSTILE
    database, results = {}, {}
    truth = np.random.default_rng(7)
    for i in range(recordings):
        key = HOSTILE_ID if hostile and i == 0 else f"video_{i:05d}"
        duration = float(truth.uniform(20, 200))
        annotations = []
        for _ in range(int(truth.integers(1, 4))):
            start = truth.uniform(0, 0.8 * duration)
            end = start + truth.uniform(0.05, 0.2) * duration
            label = labels[0 if i == 0 else int(truth.integers(classes))]
            annotations.append({"segment": [round(start, 2), round(end, 2)], "label": label})
        rows = []
        for _ in range(per_recording):
            (start, end), label = (pick := annotations[rng.integers(len(annotations))])["segment"], pick["label"]
            shift = rng.normal(0, 0.3, 2) * (end - start)
            start, end = sorted((start + shift[0], end + shift[1]))
            if rng.random() < 0.3:
                label = labels[rng.integers(classes)]
            rows.append({"label": label, "score": float(rng.random()), "segment": [max(start, 0), end]})
        if i == 0:
            rows[0] = {**rows[0], "label": HOSTILE_UNKNOWN if hostile else "unheard of", "score": 0.99}
        if i == 1 and recordings > 5:
            annotations = []
        entry = {"subset": "validation", "duration": duration, "annotations": annotations}
        if i == 2:
            del entry["duration"]
        database[key] = entry
        if i != 3:
            results[key] = rows
    database["elsewhere"] = {"subset": "training", "duration": 9.0, "annotations": []}
    results["unknown_video"] = [{"label": labels[-1], "score": 0.5, "segment": [0, 5]}]
    truth_file, detections_file = folder / "a.json", folder / f"{name}.json"
    truth_file.write_text(json.dumps({"database": database}))
    detections_file.write_text(json.dumps({"results": results}))
    return truth_file, detections_file
