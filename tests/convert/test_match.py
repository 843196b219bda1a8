"""Every tensor of a checkpoint is accounted for, and comes back bit for bit."""

import flax.traverse_util
import jax
import numpy as np
import pytest
from support import published
from support.batches import make_batch

from tal_jax.convert.constants import cells, hidden_from_attention, sample_mask
from tal_jax.convert.families import FAMILIES
from tal_jax.convert.match import parameters_of, tensors_of
from tal_jax.errors import InputError
from tal_jax.models.bmn import BMN
from tal_jax.models.tcanet import TCANet

T, C = 12, 8
BATCH = make_batch(snippets=T, lengths=(T,), channels=C)


def made(family):
    """A small checkpoint; its constants are those of `convert.constants`, which have a test of their own."""
    shapes = published.SHAPES[family](C, T, **published.SMALL[FAMILIES[family].method])
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return state | {name: make(T) for name, make in FAMILIES[family].constants.items()}


def like(family, state):
    model = FAMILIES[family].settings(T, state)["model"]
    inputs = (BATCH.features, BATCH.mask)
    if FAMILIES[family].method == "bmn":
        tree = jax.eval_shape(BMN(**model).init, jax.random.key(0), *inputs)
    else:
        inputs = (*inputs, BATCH.duration, BATCH.proposals)
        tree = jax.eval_shape(lambda key: TCANet(**model).init(key, *inputs, train=False), jax.random.key(0))
    flat = flax.traverse_util.flatten_dict(tree["params"], sep="/")
    return {k: np.broadcast_to(np.float32(0), x.shape) for k, x in flat.items()}


STATES = {family: made(family) for family in published.SHAPES}
LIKE = {family: like(family, state) for family, state in STATES.items()}


def convert(family, state, snippets=T):
    return parameters_of(FAMILIES[family], state, LIKE[family], snippets, "x.pth")


@pytest.mark.parametrize("family", published.SHAPES)
def test_there_and_back_again(family):
    state = STATES[family]
    parameters = convert(family, state)
    assert set(parameters) == set(LIKE[family])
    assert all(x.shape == LIKE[family][k].shape and x.dtype == np.float32 for k, x in parameters.items())
    back = tensors_of(FAMILIES[family], parameters, T, "W/bmn")
    assert set(back) == set(state)
    for name, x in state.items():
        assert back[name].dtype == x.dtype, name
        np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_the_constants():
    mask = hidden_from_attention(20)
    for head, i, j in np.ndindex(8, 20, 20):
        assert mask[0, head, i, j] == (head < 4 and abs(i - j) > 4)
    np.testing.assert_array_equal(cells(3, by_end=False), [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(cells(3, by_end=True), [[1, 1, 1], [0, 1, 1], [0, 0, 1]])
    # Start 0, end 2: six points from -1.5 to 3.5 in three bins. -1.5 is dropped, -0.5 counts in full, 0.5 and 1.5 are
    # shared, of 2.5 one half is beyond the end, 3.5 is.
    found = sample_mask(3, longer=False, by_end=False, bins=3, points=2).reshape(3, 3, 3, 3)[:, :, 2, 0]
    np.testing.assert_allclose(found, np.array([[1, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]]) / 2, atol=1e-6)


@pytest.mark.parametrize("family", ["bmn_jjboy", "bmn_mmaction2"])
def test_sampling_is_the_ports(family):
    pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
    for name, expected in published.constants(family, 9).items():
        np.testing.assert_array_equal(FAMILIES[family].constants[name](9), expected)  # to the last bit


def test_wrong_tensors_are_listed_in_one_line():
    state = dict(STATES["bmn_jjboy"])
    state["fc.weight"] = state.pop("x_1d_p.0.bias")
    state["x_1d_b.2.bias"] = state["x_1d_b.2.bias"][:-1]
    state["x_2d_p.4.weight"] = state["x_2d_p.4.weight"].astype(np.int64)
    with pytest.raises(InputError) as error:
        convert("bmn_jjboy", state)
    text = str(error.value)
    assert "\n" not in text
    for words in (
        "x.pth",
        "1 unknown: fc.weight",
        "1 missing: x_1d_p.0.bias",
        "1 mis-shaped: x_1d_b.2.bias (7,) instead of (8,)",
        "1 not of floating point: x_2d_p.4.weight",
        "--family",
    ):
        assert words in text


def test_long_lists_are_shortened():
    with pytest.raises(InputError, match=r"unknown: .* and \d+ more; .*missing: .* and \d+ more") as error:
        convert("tcanet_released", STATES["tcanet_mmaction2"])
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_are_finite(value):
    state = dict(STATES["tcanet_released"])
    state["lgtes.1.norm2.bias"] = np.full_like(state["lgtes.1.norm2.bias"], value)
    with pytest.raises(InputError, match=r"x.pth: NaN or infinity in lgtes.1.norm2.bias"):
        convert("tcanet_released", state)


def test_constants_are_those_of_the_config():
    released = dict(STATES["tcanet_released"])
    with pytest.raises(InputError, match=r"mask_matrix .* at T = 6.*T = 12: set data.snippets"):
        convert("tcanet_released", released, snippets=6)
    released["lgtes.1.self_atten.mask_matrix"] = hidden_from_attention(T, window=7)
    with pytest.raises(InputError, match=r"lgtes.1.self_atten.mask_matrix .*another --family"):
        convert("tcanet_released", released)
    for name, other in (("sample_mask", "another --family"), ("bm_mask", "another --family")):
        state = STATES["bmn_jjboy"] | {name: STATES["bmn_mmaction2"][name]}
        with pytest.raises(InputError, match=f"{name} .*{other}"):
            convert("bmn_jjboy", state)
    with pytest.raises(InputError, match="1 missing: sample_mask"):
        convert("bmn_jjboy", {k: x for k, x in STATES["bmn_jjboy"].items() if k != "sample_mask"})
    convert("bmn_jjboy", {k: x for k, x in STATES["bmn_jjboy"].items() if k != "bm_mask"})  # not every version has it


def test_rounded_constants_are_accepted():
    half = {k: x.astype(np.float16).astype(np.float32) for k, x in STATES["bmn_mmaction2"].items()}
    convert("bmn_mmaction2", half)


def test_widths_are_the_checkpoints():
    """One wrong tensor of a width does not count against the others."""
    state = dict(STATES["bmn_jjboy"])
    state["x_1d_b.0.bias"] = np.zeros(5, np.float32)
    model = FAMILIES["bmn_jjboy"].settings(T, state)["model"]
    assert (model["hidden"], model["proposal_hidden"], model["map_hidden"], model["map_conv_hidden"]) == (8, 6, 10, 4)
    assert model["durations"] == T
    assert FAMILIES["bmn_jjboy"].channels(state) == C


def test_models_that_a_family_cannot_express():
    parameters = convert("tcanet_released", STATES["tcanet_released"])
    more = parameters | {"snippet_out/kernel": np.zeros((4, 2), np.float32)}
    with pytest.raises(InputError, match=r"W/tcanet: tcanet_released cannot .*no place for snippet_out/kernel"):
        tensors_of(FAMILIES["tcanet_released"], more, T, "W/tcanet")
    parameters.pop("tbr3/segment_out/bias")
    with pytest.raises(InputError, match="no tbr3/segment_out/bias to write"):
        tensors_of(FAMILIES["tcanet_released"], parameters, T, "W/tcanet")
