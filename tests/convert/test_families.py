"""Published checkpoints compute here what PyTorch computes with them: outputs, boundaries, confidences, losses."""

import flax.traverse_util
import jax
import numpy as np
import pytest
from support import published
from support.batches import make_batch

from tal_jax.convert.families import FAMILIES
from tal_jax.convert.match import parameters_of
from tal_jax.losses.bmn import boundary_labels, map_labels
from tal_jax.models.bmn import BMN
from tal_jax.models.tcanet import TCANet
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.tcanet import TCANetTask

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_bmn, torch_tcanet, torch_tcanet_mmaction2, torch_weights  # noqa: E402

TCANETS = {"tcanet_released": torch_tcanet.TCANet, "tcanet_mmaction2": torch_tcanet_mmaction2.TCANet}
BMNS = ("bmn_jjboy", "bmn_mmaction2")
C, P, SLOTS = 8, 9, 2


def tensor(x):
    return torch.from_numpy(np.array(x))


def close(found, expected, name=""):
    found, expected = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in (found, expected))
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale, err_msg=name)


def converted(family, state, snippets, batch):
    """The task as a config with the family's settings makes it, and its parameters."""
    settings = FAMILIES[family].settings(snippets, state)
    options = settings["options"] | {"random_negatives": False}
    if family in TCANETS:
        task = TCANetTask(TCANet(**settings["model"], dropout=0.0), **options)
    else:
        task = BMNTask(BMN(**settings["model"]), **options)
    tree = jax.eval_shape(task.init, jax.random.key(0), batch)["params"]
    like = {k: np.zeros(x.shape, np.float32) for k, x in flax.traverse_util.flatten_dict(tree, sep="/").items()}
    parameters = parameters_of(FAMILIES[family], state, like, snippets, "x.pth")
    return task, {"params": flax.traverse_util.unflatten_dict(parameters, sep="/")}


def loaded(module, state):
    module.load_state_dict({name: tensor(x) for name, x in state.items()})  # strict: every name and shape
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return module


def refinement(snippets):
    """A whole recording and a zero-padded one; proposals at, beyond and across both ends, in the padding, and empty."""
    batch = make_batch(snippets=snippets, lengths=(snippets, snippets * 3 // 5), slots=SLOTS, channels=C, proposals=P)
    proposals, t = batch.proposals.copy(), snippets
    proposals[0, 1:7] = [[0, t], [t - 2, t], [-6, 9], [t - 9, t + 7], [-3, t + 3], [t / 3, t / 3]]
    proposals[1, 4:7] = [[t * 0.7, t * 0.9], [t + 2, t + 5], [t * 0.3, t * 0.8]]
    # Neighbours are alike, as real ones are: rounding of a boundary is not to change what is sampled there.
    n = snippets // 20
    smooth = np.float32(n**0.5) * np.stack([np.roll(batch.features, i, axis=1) for i in range(n)]).mean(axis=0)
    return batch.replace(
        features=smooth * batch.mask[..., None],
        proposals=proposals,
        proposal_mask=np.ones((2, P), bool),
    )


def truth_of(batch):
    """The ground truth that each proposal overlaps most, as a fraction of T: [B P, 2]."""
    rows = []
    for i in range(len(batch.proposals)):
        real = batch.segments[i][batch.segment_mask[i]]
        for s, e in batch.proposals[i]:
            overlap = np.clip(np.minimum(e, real[:, 1]) - np.maximum(s, real[:, 0]), 0, None)
            rows.append(real[np.argmax(overlap / (e - s + real[:, 1] - real[:, 0] - overlap))])
    return tensor(np.array(rows, np.float32)) / batch.features.shape[1]


def check_gradients(family, module, loss, grads):
    loss.backward()
    expected = torch_weights.of_family(family, grads["params"])
    assert set(expected) == {name for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        # By norm: a ReLU's input may be rounded to either side of zero, and a few gradients jump then.
        difference = torch.linalg.norm(parameter.grad - expected[name])
        assert difference <= 1e-3 * torch.linalg.norm(expected[name]) + 1e-6, name


@pytest.mark.parametrize("snippets", [100, 1000])
@pytest.mark.parametrize("family", TCANETS)
def test_tcanet(family, snippets):
    """At the published widths."""
    batch = refinement(snippets)
    state = published.state(family, C, snippets)
    task, params = converted(family, state, snippets, batch)
    module = loaded(TCANETS[family](C, snippets), state)
    features, given = tensor(batch.features).transpose(1, 2), tensor(batch.proposals) / snippets

    def both(params):
        rngs = {"dropout": jax.random.key(2)}
        inputs = (params, batch.features, batch.mask, batch.duration, batch.proposals)
        outputs = [task.model.apply(*inputs, train=train, rngs=rngs) for train in (True, False)]
        return outputs, task.loss(params, batch, jax.random.key(1))[0]

    outputs, loss = jax.jit(both)(params)
    for output, train in zip(outputs, (True, False), strict=True):
        stages = module.train(train)(features, given)
        for ours, (proposals, ends, center, iou, refined) in zip(output.stages, stages, strict=True):
            close(ours.proposals / snippets, proposals.reshape(2, P, 2), "proposals")
            close(ours.ends, ends.reshape(2, P, 2), "ends")
            close(ours.center, center.reshape(2, P, 2), "center")
            close(jax.nn.sigmoid(ours.iou_logit), iou.sigmoid().reshape(2, P), "confidence")
            close(ours.segments / snippets, refined.reshape(2, P, 2), "boundaries")
    expected = torch_tcanet.loss(module.train()(features, given), truth_of(batch), draw=False)
    close(loss, expected, "loss")
    assert expected > 0.1


@pytest.mark.parametrize("family", TCANETS)
def test_gradients_of_tcanet(family):
    snippets, sizes = 40, published.SMALL["tcanet"]
    batch = refinement(snippets)
    state = published.state(family, C, snippets, **sizes)
    task, params = converted(family, state, snippets, batch)
    module = loaded(TCANETS[family](C, snippets, **sizes), state).train()
    grads = jax.jit(jax.grad(lambda p: task.loss(p, batch, jax.random.key(1))[0]))(params)
    stages = module(tensor(batch.features).transpose(1, 2), tensor(batch.proposals) / snippets)
    check_gradients(family, module, torch_tcanet.loss(stages, truth_of(batch), draw=False), grads)


@pytest.mark.parametrize("family", BMNS)
@pytest.mark.parametrize(
    ("snippets", "sizes"),
    [(100, {"proposal": 256}), (12, published.SMALL["bmn"])],  # the published widths, and all of the map
)
def test_bmn(family, snippets, sizes):
    batch = make_batch(snippets=snippets, lengths=(snippets,), slots=SLOTS, channels=C)
    segments = np.array([[[0.2, 0.55], [0.7, 0.95]]], np.float32) * snippets
    batch = batch.replace(segments=segments, duration=np.full(1, snippets, np.float32))
    state = published.state(family, C, snippets, **sizes)
    task, params = converted(family, state, snippets, batch)
    port = family.removeprefix("bmn_")
    module = loaded(torch_bmn.BMN(C, snippets, port=port, **sizes), state)

    @jax.jit
    def run(params):
        (loss, _), grads = jax.value_and_grad(task.loss, has_aux=True)(params, batch, jax.random.key(1))
        return task.model.apply(params, batch.features, batch.mask), loss, grads

    output, loss, grads = run(params)
    start, end, maps = module(tensor(batch.features).transpose(1, 2))
    close(jax.nn.sigmoid(output.start), start)
    close(jax.nn.sigmoid(output.end), end)
    valid = np.asarray(output.valid[0])
    at, duration = np.nonzero(valid)
    place = (at, at + duration) if port == "jjboy" else (duration, at)
    for channel, logits in enumerate((output.regression, output.classification)):
        close(jax.nn.sigmoid(logits)[0][valid], maps[0, channel].detach().numpy()[place])

    iou = torch.zeros(1, snippets, snippets)
    iou[0, *place] = tensor(map_labels(batch.segments, batch.segment_mask, snippets, snippets))[0, at, duration]
    labels = [tensor(boundary_labels(batch.segments[..., i], batch.segment_mask, snippets)) for i in range(2)]
    expected = torch_bmn.loss(start, end, maps, *labels, iou, draw=False, port=port)
    close(loss, expected)
    check_gradients(family, module, expected, grads)


def test_the_published_sizes():
    """Names and shapes of the tables are those of the PyTorch modules: 11,570,191 parameters of TCANet."""
    for family, make in TCANETS.items():
        module = make(2304, 20)
        shapes = {name: tuple(x.shape) for name, x in module.state_dict().items()}
        assert shapes == published.SHAPES[family](2304, 20)
        assert sum(x.numel() for x in module.parameters()) == 11_570_191
    for family in BMNS:
        module = torch_bmn.BMN(400, 8, proposal=256, port=family.removeprefix("bmn_"))
        assert {name: tuple(x.shape) for name, x in module.state_dict().items()} == published.bmn(400, 8)
