"""The periodic evaluation of a stage, on the records themselves."""

from functools import partial

import jax
import numpy as np

from tal_jax.devices.processes import gather, share
from tal_jax.evaluation.classification import label_average_precision
from tal_jax.evaluation.detection import HIGH_TIOU, evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.plan import check_classes
from tal_jax.stages.predictor import Predictor, excusing_table, truth_table
from tal_jax.stages.recordings import located
from tal_jax.stages.stage import Stage
from tal_jax.tasks.task import Params


def evaluate_stage(stage: Stage, predictor: Predictor, params: Params, batch_size: int) -> dict[str, float]:
    """Scores of the stage's predictions on its evaluation recordings; `average` decides which checkpoint is best.

    Proposals: AR@AN and AUC. Detections: mAP at 0.5, 0.75, 0.95 and their average over 0.5:0.05:0.95. Classifier: mean
    over recordings with classes of whether the best one is right. Top labels: that of the best, and of the best five,
    all views of a clip together, and each view alone. Labels: mAP of the recordings' classes, which asks
    for no segment.

    Args:
      stage: as `build_stage` makes it.
      predictor: runs the stage's task.
      params: the task's parameters.
      batch_size: how many windows are predicted at a time.

    Returns:
      Fractions in [0, 1] by name; {} without recordings to evaluate on, or without ground truth.

    Raises:
      InputError: the set has other classes than the one that the stage was trained on.
    """
    check_classes(stage)
    split, index, measured_by = stage.recordings.evaluation, stage.recordings.eval_index, stage.task.measured_by
    if len(index) == 0:
        return {}
    if measured_by == "labels":
        scores, labels = _class_scores(stage, params, batch_size)
        if not labels.any():
            return {}
        value = label_average_precision(scores, labels)
        return {"average": value, "label_mAP": value}
    if measured_by == "top_labels":
        views, labels = _view_scores(stage, params, batch_size)
        views, labels = views[labels.any(1)], labels[labels.any(1)]
        if not len(labels):
            return {}
        top1, top5 = _among_best(views.mean(1), labels)
        if views.shape[1] == 1:
            return {"average": top1, "top1": top1, "top5": top5}
        of_one = _among_best(views.reshape(-1, views.shape[2]), np.repeat(labels, views.shape[1], axis=0))
        return {"average": top1, "top1": top1, "top5": top5, "view_top1": of_one[0], "view_top5": of_one[1]}
    index = located(split, index)  # of a weak stage: those with labels alone show neither right nor wrong detections
    truth = truth_table(split, index)
    if len(truth) == 0:
        return {}
    found = predictor(params, split, stage.assembler, index=index, batch_size=batch_size)
    if measured_by == "proposals":
        result = evaluate_proposals(truth, found)
        recall = result.average_recall
        at = {f"AR@{n}": float(np.interp(n, result.numbers, recall)) for n in (1, 5, 10, 100)}
        return {"average": result.auc, "AUC": result.auc, **at}
    if measured_by == "best_label":
        best: dict[int, tuple[float, int]] = {}
        for i, label, score in zip(found.recording, found.label, found.score, strict=True):
            if score > best.get(i, (-1.0, -1))[0]:
                best[i] = (score, label)
        present = set(zip(truth.recording.tolist(), truth.label.tolist(), strict=True))
        # Of recordings without any class, none is right.
        right = np.mean([i in best and (i, best[i][1]) in present for i in {i for i, _ in present}])
        return {"average": float(right), "top1": float(right)}
    excusing = excusing_table(split, index)
    detection = evaluate_detections(truth, found, split.metadata.labels, HIGH_TIOU, excusing)
    at = {
        f"mAP@{t:.2f}": float(m) for t, m in zip(detection.tiou, detection.mAP, strict=True) if t in (0.5, 0.75, 0.95)
    }
    return {"average": detection.average, "average_mAP": detection.average, **at}


def _among_best(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The shares of rows [N, K] whose best class, and one of whose best five, is one of theirs."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(labels, order, axis=1)
    return float(ranked[:, :1].any(1).mean()), float(ranked[:, :5].any(1).mean())


def _view_scores(stage: Stage, params: Params, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, V, K] of the evaluation clips by each of their views, and labels [N, K]."""
    step = partial(jax.jit(stage.task.view_probabilities), params)
    own, split = share(stage.recordings.eval_index), stage.recordings.evaluation
    frames = map_frames(step, split, stage.assembler, index=own, batch_size=batch_size)
    found = [(np.array(frame.result), np.array(frame.row.labels)) for frame in frames]  # not the images
    pair = tuple(np.stack(x) for x in zip(*found, strict=True)) if found else (np.zeros(0), np.zeros(0))
    everyone = [x for x in gather({"scores": pair[0], "labels": pair[1]}) if len(x["labels"])]
    return np.concatenate([x["scores"] for x in everyone]), np.concatenate([x["labels"] for x in everyone])


def _class_scores(stage: Stage, params: Params, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of the evaluation recordings, of each class its best window's, and labels: [N, K] each."""
    probabilities = jax.jit(stage.task.class_probabilities)
    own = share(stage.recordings.eval_index)
    row_of = {int(position): row for row, position in enumerate(own)}
    scores = np.zeros((len(row_of), stage.assembler.num_classes), np.float32)
    labels = np.zeros_like(scores)
    step, split = partial(probabilities, params), stage.recordings.evaluation
    for frame in map_frames(step, split, stage.assembler, index=own, batch_size=batch_size):
        row = row_of[frame.position]
        scores[row] = np.maximum(scores[row], frame.result)
        labels[row] = frame.row.labels
    everyone = gather({"scores": scores, "labels": labels})
    return np.concatenate([x["scores"] for x in everyone]), np.concatenate([x["labels"] for x in everyone])
