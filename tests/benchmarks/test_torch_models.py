"""The PyTorch models that speed is measured against compute what this project's do: outputs, losses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.batches import make_batch

from tal_jax.losses.bmn import boundary_labels, map_labels
from tal_jax.models.bmn import BMN
from tal_jax.models.mgfn import MGFN
from tal_jax.models.tcanet import TCANet
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.tcanet import TCANetTask

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_bmn, torch_mgfn, torch_tcanet, torch_weights  # noqa: E402

T = 12


def full_batch(**sizes):
    """Recordings without padding, one segment each."""
    batch = make_batch(snippets=T, lengths=(T, T), slots=1, **sizes)
    return batch.replace(duration=np.full(2, T, np.float32))


def close(found, expected, name=""):
    expected = np.asarray(expected, np.float32)
    scale = max(1e-3, float(np.abs(expected).max()))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


def check_gradients(module, loss, grads, to_torch):
    module.zero_grad()
    loss.backward()
    expected = to_torch(grads["params"])
    assert set(expected) == {name for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        # By norm: a ReLU's input may be rounded to either side of zero, and a few gradients jump then.
        difference = torch.linalg.norm(parameter.grad - expected[name])
        assert difference <= 3e-4 * torch.linalg.norm(expected[name]) + 1e-6, name


def tensor(x):
    return torch.from_numpy(np.array(x))


def channels_first(features):
    return tensor(features).transpose(1, 2)


def test_bmn():
    batch = full_batch(channels=8)
    task = BMNTask(BMN(durations=T, masked_cells=False))
    params = jax.jit(task.init)(jax.random.key(0), batch)
    output = jax.jit(task.model.apply)(params, batch.features, batch.mask)
    (loss, _), grads = jax.jit(jax.value_and_grad(lambda p: task.loss(p, batch, jax.random.key(1)), has_aux=True))(
        params
    )

    module = torch_bmn.BMN(8, T)
    module.load_state_dict(torch_weights.bmn(params["params"]))
    start, end, maps = module(channels_first(batch.features))
    close(start.detach(), jax.nn.sigmoid(output.start))
    close(end.detach(), jax.nn.sigmoid(output.end))
    valid = np.asarray(output.valid)
    for channel, logits in enumerate((output.regression, output.classification)):
        close(maps[:, channel].detach().transpose(1, 2).numpy()[valid], jax.nn.sigmoid(logits)[valid])
    labels = [tensor(boundary_labels(batch.segments[..., i], batch.segment_mask, T)) for i in range(2)]
    iou = tensor(map_labels(batch.segments, batch.segment_mask, T, T)).transpose(1, 2)
    found = torch_bmn.loss(start, end, maps, *labels, iou, draw=False)
    close(found.item(), loss)
    check_gradients(module, found, grads, torch_weights.bmn)


def test_tcanet():
    snippets = 40
    batch = make_batch(snippets=snippets, lengths=(snippets, snippets), slots=1, channels=8, proposals=9)
    # Proposals at and beyond the ends, and an empty one; every one counts.
    proposals = batch.proposals.copy()
    proposals[0, :3] = [[0, snippets], [snippets - 1, snippets], [3, 3]]
    batch = batch.replace(
        duration=np.full(2, snippets, np.float32), proposals=proposals, proposal_mask=np.ones((2, 9), bool)
    )
    model = TCANet(variant="released", dropout=0.0)
    task = TCANetTask(model, classes="video")
    params = jax.jit(task.init)(jax.random.key(0), batch)
    inputs = (batch.features, batch.mask, batch.duration, batch.proposals)

    @jax.jit
    def run(params):
        outputs = [
            model.apply(params, *inputs, train=train, rngs={"dropout": jax.random.key(2)}) for train in (True, False)
        ]
        return outputs, jax.value_and_grad(task.loss, has_aux=True)(params, batch, jax.random.key(1))

    (output, predicted), ((loss, _), grads) = run(params)

    module = torch_tcanet.TCANet(8, snippets)
    module.load_state_dict(torch_weights.tcanet(params["params"]), strict=False)  # but for the masks
    for lgte in module.lgtes:
        lgte.drop.p = 0.0
    stages = module(channels_first(batch.features), tensor(batch.proposals) / snippets)
    for ours, (given, ends, center, iou, refined) in zip(output.stages, stages, strict=True):
        close(given.detach().reshape(2, 9, 2) * snippets, ours.proposals)
        close(ends.detach().reshape(2, 9, 2), ours.ends)
        close(center.detach().reshape(2, 9, 2), ours.center)
        close(iou.detach().reshape(2, 9), ours.iou_logit)
        close(refined.detach().reshape(2, 9, 2) * snippets, ours.segments)
    truth = (tensor(batch.segments) / snippets).repeat_interleave(9, dim=0)[:, 0]
    found = torch_tcanet.loss(stages, truth, draw=False)
    close(found.item(), loss)
    check_gradients(module, found, grads, torch_weights.tcanet)

    boundaries, confidence = module.eval().infer(
        channels_first(batch.features), tensor(batch.proposals) / snippets, chunk=4
    )
    close(boundaries.reshape(2, 9, 2) * snippets, predicted.stages[-1].segments)
    close(confidence.reshape(2, 9), jax.nn.sigmoid(predicted.stages[1].iou_logit))


def test_mgfn():
    batch = full_batch(channels=8, classes=4)
    rng = np.random.default_rng(0)
    labels = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], np.float32)
    clip_features = rng.normal(size=(2, 1024)).astype(np.float32)
    clips = batch.replace(clip_features=clip_features)
    batch = batch.replace(labels=labels, clips=clips)
    anchors = (2.0, 4.0, 8.0)
    model = MGFN(4, hidden=512, branch_hidden=128, dropout=0.0, erase_threshold=0.5, anchors=anchors)
    task = MGFNTask(model, mmd_weight=0.1, oic_weight=0.1)
    # Biases that are not zero: at erased snippets a ReLU would sit exactly at its kink, where rounding decides.
    params = jax.tree.map(
        lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32) if x.ndim == 1 else x,
        jax.jit(task.init)(jax.random.key(0), batch),
    )

    @jax.jit
    def run(params):
        output = model.apply(params, batch.features, batch.mask, labels, train=False)
        return output, jax.value_and_grad(task.loss, has_aux=True)(params, batch, jax.random.key(1))

    output, ((loss, _), grads) = run(params)

    module = torch_mgfn.MGFN(8, 4, anchors, threshold=0.5)
    module.load_state_dict(torch_weights.mgfn(params["params"]))
    for stage in (module.stage1, module.stage2):
        stage.drop.p = 0.0
    first, second, sequence, segments = module(channels_first(batch.features), tensor(labels))
    for ours, (_, logits, pooled, own) in zip(output.stages, (first, second), strict=True):
        close(logits.detach(), ours.logits)
        close(pooled.detach(), ours.pooled[:, :, 0])
        close(own.detach(), ours.sequence)
    close(sequence.detach(), output.sequence)
    close(segments.detach(), task._regressed(output))
    found = torch_mgfn.loss((first, second, sequence, segments), tensor(labels), tensor(clip_features))
    close(found.item(), loss)
    assert jnp.isfinite(loss)
    check_gradients(module, found, grads, torch_weights.mgfn)
