"""The periodic evaluation of a stage, on the records themselves."""

from functools import partial

import jax
import numpy as np

from tal_jax.devices.processes import gather, share
from tal_jax.evaluation.classification import label_average_precision
from tal_jax.evaluation.detection import HIGH_TIOU, evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.predictor import Predictor, truth_table
from tal_jax.stages.stage import Stage
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Params


def evaluate_stage(stage: Stage, predictor: Predictor, params: Params, batch_size: int) -> dict[str, float]:
    """Scores of the stage's predictions on its evaluation recordings; `average` decides which checkpoint is best.

    Proposals: AR@AN and AUC. Detections: mAP at 0.5, 0.75, 0.95 and their average over 0.5:0.05:0.95. Classifier: mean
    over recordings of whether the best class is right. Weakly-supervised stages: mAP of the recordings' classes, which
    asks for no segment. Nothing without recordings or without ground truth.
    """
    if stage.evaluation is None or len(stage.eval_index) == 0:
        return {}
    if isinstance(stage.task, MGFNTask):
        value = label_average_precision(*_class_scores(stage, stage.task, params, batch_size))
        return {"average": value, "label_mAP": value}
    truth = truth_table(stage.evaluation, stage.eval_index)
    if len(truth) == 0:
        return {}
    found = predictor(params, stage.evaluation, stage.assembler, index=stage.eval_index, batch_size=batch_size)
    if stage.kind == "bmn":
        result = evaluate_proposals(truth, found)
        recall = result.average_recall
        at = {f"AR@{n}": float(np.interp(n, result.numbers, recall)) for n in (1, 5, 10, 100)}
        return {"average": result.auc, "AUC": result.auc, **at}
    if stage.kind == "classifier":
        best: dict[int, tuple[float, int]] = {}
        for i, label, score in zip(found.recording, found.label, found.score, strict=True):
            if score > best.get(i, (-1.0, -1))[0]:
                best[i] = (score, label)
        present = set(zip(truth.recording.tolist(), truth.label.tolist(), strict=True))
        right = np.mean([(i, label) in present for i, (_, label) in best.items()])
        return {"average": float(right), "top1": float(right)}
    labels = stage.evaluation.metadata.labels
    detection = evaluate_detections(truth, found, labels, HIGH_TIOU)
    at = {
        f"mAP@{t:.2f}": float(m) for t, m in zip(detection.tiou, detection.mAP, strict=True) if t in (0.5, 0.75, 0.95)
    }
    return {"average": detection.average, "average_mAP": detection.average, **at}


def _class_scores(stage: Stage, task: MGFNTask, params: Params, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of the evaluation recordings, of each class its best window's, and labels: [N, K] each."""
    assert stage.evaluation is not None
    probabilities = jax.jit(lambda params, batch: task.forward(params, batch)[1])
    own = share(stage.eval_index)
    row_of = {int(position): row for row, position in enumerate(own)}
    scores = np.zeros((len(row_of), stage.assembler.num_classes), np.float32)
    labels = np.zeros_like(scores)
    step = partial(probabilities, params)
    for frame in map_frames(step, stage.evaluation, stage.assembler, index=own, batch_size=batch_size):
        row = row_of[frame.position]
        scores[row] = np.maximum(scores[row], frame.result)
        labels[row] = frame.row.labels
    everyone = gather({"scores": scores, "labels": labels})
    return np.concatenate([x["scores"] for x in everyone]), np.concatenate([x["labels"] for x in everyone])
