"""What to say of a recording whose time scale is not that of the model's training, or contradicts its duration."""

from tal_jax.deploy.model import Model, ResolvedRecording
from tal_jax.windows import FAR_STRIDE, strange_stride


def doubts(model: Model, recording: ResolvedRecording) -> tuple[str, ...]:
    """What makes the detections of a recording doubtful, one line each; () where nothing does.

    The lines name no recording and none of its own numbers, so that those of many recordings can be counted.

    Args:
      model: the model that detects.
      recording: what `Model.checked` made of the recording.
    """
    found = []
    # A frame that is stretched over the whole recording has no time scale of its own.
    if any(stage.framing.mode != "resize" for stage in model.stages):
        found.append(strange_stride(recording.stride, model.stride))
    factor = recording.duration / (len(recording) * recording.stride)
    if not 1 / FAR_STRIDE < factor < FAR_STRIDE:
        far = f"more than {FAR_STRIDE:g} times as long as" if factor > 1 else f"less than 1/{FAR_STRIDE:g} of"
        found.append(f"the known duration is {far} snippets x {recording.stride:.6g} s: is the stride right?")
    return tuple(note for note in found if note)
