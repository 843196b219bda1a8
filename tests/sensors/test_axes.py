"""Devices: named in every way, found by gravity as a whole, remembered, and what is said of them."""

import json

import numpy as np
import pytest

from tal_jax.data.augmentation import Augmentation, Turning
from tal_jax.data.dataset import open_split
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.sensors.axes import find_devices, named_devices, read, write

WIDTHS = {"rgb": 4, "acc": 12, "gyr": 12, "axes": 6, "g": 3, "other": 12}
RANGE = tuple(range(12))


def rng(seed=0):
    return np.random.default_rng(seed)


def gravity(snippets, seed):
    """[T, 3] in m/s2, of a device that is turned now and then."""
    angles = np.repeat(rng(seed).uniform(-3, 3, (snippets // 5 + 1, 2)), 5, axis=0)[:snippets]
    (a, b), (c, d) = np.sin(angles).T, np.cos(angles).T
    return 9.81 * np.stack([a * d, b, c * d], 1)


def features(seed, snippets=40):
    random = rng(seed)
    down = gravity(snippets, seed)
    acceleration = (down[:, None] + random.normal(0, 0.3, (snippets, 4, 3))).reshape(snippets, 12)
    rate = random.normal(size=(snippets, 6))
    axes = np.empty((snippets, 6))
    axes[:, 0::2], axes[:, 1::2] = down / 9.81 + random.normal(0, 0.03, (snippets, 3)), rate[:, :3]
    return {
        "rgb": random.normal(size=(snippets, 4)),
        "acc": acceleration,
        "gyr": random.normal(size=(snippets, 12)),
        "axes": axes,
        "g": down / 9.81 + random.normal(0, 0.03, (snippets, 3)),
        "other": random.normal(size=(snippets, 12)),
    }


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triaxial")
    database = {}
    for i in range(3):
        for stream, x in features(i).items():
            (folder / stream).mkdir(exist_ok=True)
            np.save(folder / stream / f"r{i}.npy", x.astype(np.float32))
        annotations = [{"segment": [1.0, 2.0], "label": "a"}]
        database[f"r{i}"] = {"subset": "training", "duration": 40.0, "annotations": annotations}
    (folder / "a.json").write_text(json.dumps({"database": database}))
    folders = {stream: str(folder / stream) for stream in WIDTHS}
    prepare.prepare(
        prepare.Options(
            annotations=str(folder / "a.json"), features=folders, stride="1", out=str(folder / "data"), workers=1
        )
    )
    return open_split(folder / "data", "training")


def test_two_streams_of_one_device_are_found_and_turn_together(split):
    turning = find_devices((), split, ("rgb", "acc", "gyr"))
    assert turning.devices == ((tuple(range(4, 16)), tuple(range(16, 28))),)
    one, other = turning.told
    assert one.startswith(
        "  rotated in training, as one device: acc (4 samples in m/s2, x y z in turn) + gyr (4 samples"
    )
    assert one.endswith(": 24 channels (gravity is seen)")
    assert other == "  not rotated: rgb: 4 channels are no triples of x, y and z: data.triaxial names those that are"
    assert find_devices((), split, ("gyr", "acc")).devices == ((RANGE, tuple(range(12, 24))),)


def test_what_turns_keeps_the_angle_between_the_sensors(split):
    turning = find_devices((), split, ("acc", "gyr", "rgb"))
    x = np.concatenate([split[0].features[s] for s in ("acc", "gyr", "rgb")], 1).astype(np.float32)
    got = Augmentation(rotation=1.0, triaxial=turning)(x, rng(8))
    np.testing.assert_array_equal(got[:, 24:], x[:, 24:])

    def products(x):
        return (x[:, :12].reshape(-1, 3).astype(np.float64) * x[:, 12:24].reshape(-1, 3)).sum(1)

    assert np.abs(got[:, :24] - x[:, :24]).max() > 1
    np.testing.assert_allclose(products(got), products(x), rtol=1e-4, atol=1e-3)
    length = np.linalg.norm(got[:, :12].reshape(-1, 3), axis=1)
    np.testing.assert_allclose(length, np.linalg.norm(x[:, :12].reshape(-1, 3), axis=1), rtol=1e-4)


def test_axis_major_rows_in_units_of_g(split):
    turning = find_devices((), split, ("rgb", "axes"))
    assert turning.devices == (((4, 6, 8, 5, 7, 9),),)
    assert "axes (1 sample of 2 sensors in g, sample by sample, x of all sensors, then y, then z)" in turning.told[0]
    assert find_devices((), split, ("g",)).devices == (((0, 1, 2),),)


def test_half_a_device_does_not_turn(split):
    """Nothing says whether noise of the accelerometer's shape is a gyroscope's: the user has to."""
    turning = find_devices((), split, ("acc", "other"))
    assert turning.devices == ()
    assert turning.told == (
        "  rotated in training: nothing; acc: 4 samples in m/s2, x y z in turn, but other may turn with it; "
        "other: may be another sensor of it (data.triaxial names what turns)",
    )
    assert find_devices((("acc", "other"),), split, ("acc", "other")).devices == ((RANGE, tuple(range(12, 24))),)
    assert find_devices(("acc",), split, ("acc", "other")).devices == ((RANGE,),)


def test_several_accelerometers_turn_alike_and_it_is_said(split):
    turning = find_devices((), split, ("acc", "g"))
    assert turning.devices == ((RANGE, (12, 13, 14)),)
    assert "several times: data.triaxial names devices that turn each on its own" in turning.told[0]
    assert find_devices((("acc",), ("g",)), split, ("acc", "g")).devices == ((RANGE,), ((12, 13, 14),))


def test_nothing_to_turn_is_said_with_the_reason(split):
    turning = find_devices((), split, ("rgb",))
    assert turning.devices == ()
    assert turning.told[0].startswith("  rotated in training: nothing; rgb: 4 channels are no triples of x, y and z")


@pytest.mark.parametrize(
    ("named", "devices"),
    [
        (("gyr",), ((tuple(range(4, 16)),),)),  # the old form: one device of whole streams
        (("acc", "gyr"), ((tuple(range(16, 28)), tuple(range(4, 16))),)),
        ((("acc",), ("gyr",)), ((tuple(range(16, 28)),), (tuple(range(4, 16)),))),
        (["gyr[0:6]"], (((4, 5, 6, 7, 8, 9),),)),
        (("gyr[0::4]", "gyr[1::4]"), (((4, 8, 12), (5, 9, 13)),)),
        ((("gyr[2,0,1]", "acc[-3:]"),), (((6, 4, 5), (25, 26, 27)),)),
        (("axes",), (((28, 30, 32, 29, 31, 33),),)),  # the order is told by gravity
    ],
)
def test_devices_are_named(split, named, devices):
    turning = find_devices(named, split, ("rgb", "gyr", "acc", "axes"))
    assert turning.devices == devices
    assert all("named in data.triaxial" in line for line in turning.told)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("flow",), r"no stream 'flow' in use: there are rgb, acc"),
        (("gyr",), r"no stream 'gyr' in use"),  # in the set, but not in use
        (("rgb",), r"'rgb' has 4 channels, no triples of x, y and z: .*name channels of it, such as 'rgb\[0:3\]'"),
        (("acc", ("rgb[0:3]",)), "not both"),
        (((),), "a device is a list of streams"),
        ((3,), "not both|a device is a list"),
        (("acc[0:5]",), "names 5 channels, no triples"),
        (("acc[]",), "has channels 0 to 11|no triples"),
        (("acc[10,11,12]",), "has channels 0 to 11"),
        (("acc[0:3:0]",), "has channels 0 to 11"),
        (("acc[0:3:1:1]",), "no triples"),
        (("acc[0:6]", "acc[3:6]"), "channel 3 of 'acc' is named twice"),
        ((("acc",), ("acc",)), "channel 0 of 'acc' is named twice"),
    ],
)
def test_a_name_that_cannot_be_is_refused(named, message):
    with pytest.raises(InputError, match=rf"data\.triaxial: .*({message})"):
        named_devices(named, WIDTHS, ("rgb", "acc"))


def test_what_was_found_is_read_again(tmp_path, split):
    path = tmp_path / "triaxial.json"
    turning = find_devices((), split, ("rgb", "acc", "gyr"))
    write(path, turning)
    assert read(path, 28) == turning
    path.write_text("[[0, 3], [6, 12]]")  # of before: ranges of one device
    assert read(path, 12) == Turning(
        (((0, 1, 2), (6, 7, 8, 9, 10, 11)),), ("  rotated in training: 9 channels (as when the training began)",)
    )
    path.write_text("[]")
    assert read(path, 12) == Turning((), ("  rotated in training: nothing (as when the training began)",))
    for text in ("[[0, 4]]", "[[9, 15]]", "{}", "[[0, 3", "[3]", '{"devices": [[[0, 1, -1]]], "told": []}', "",
                 '{"devices": [], "told": ["\\u001b[2J"]}', "[" * 5000):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=r"triaxial\.json: damaged, .*: restore it, or remove it"):
            read(path, 12)
