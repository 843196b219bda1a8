"""How optical flow is stored: grey images, bytes, and denseflow's folders."""

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.video.flow import grey, stored, to_bytes


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_grey_is_opencvs(order):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    expected = cv2.cvtColor(image, getattr(cv2, f"COLOR_{order}2GRAY"))
    np.testing.assert_array_equal(grey(image, order), expected)
    np.testing.assert_array_equal(grey(image[None], order)[0], expected)


def test_grey_of_known_colours():
    colours = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(grey(colours), [[255, 76, 150, 29, 0]])
    np.testing.assert_array_equal(grey(colours, "BGR"), [[255, 29, 150, 76, 0]])


def test_bytes():
    values = np.array([0.0, -20.0, 20.0, -1000.0, 1000.0, 20 / 255, -20 / 255, 1.0, -1.0], np.float32)
    flow = np.stack([values, -values], axis=-1)[None]
    expected = [128, 0, 255, 0, 255, 128, 127, 134, 121]
    np.testing.assert_array_equal(to_bytes(flow)[0, :, 0], expected)
    wide = to_bytes(flow, bound=32.0)
    np.testing.assert_array_equal(wide[0, :, 0], [128, 48, 207, 0, 255, 128, 127, 131, 124])
    assert wide.dtype == np.uint8


def test_bytes_are_back_within_half_a_step():
    flow = np.random.default_rng(0).uniform(-20, 20, (7, 9, 2)).astype(np.float32)
    assert np.abs(to_bytes(flow) / 255.0 * 40 - 20 - flow).max() <= 20 / 255 + 1e-6


def images(count, seed=0):
    """Smooth, so that JPEG keeps them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :32]
    slopes = rng.uniform(-2, 2, (count, 2, 2))
    return [(128 + np.einsum("ck,kyx->yxc", s, np.stack([x - 16, y - 12]))).astype(np.uint8) for s in slopes]


def write(folder, flows):
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for k, flow in enumerate(flows):
        for c, component in enumerate("xy"):
            Image.fromarray(flow[..., c]).save(folder / f"flow_{component}_{k:05d}.jpg", quality=95)
    return folder


def test_denseflows_folder(tmp_path):
    flows = images(4)
    folder = write(tmp_path / "video", flows)
    (folder / "img_00000.jpg").write_bytes(b"another file")
    found = list(stored(folder))
    assert [f.shape for f in found] == [(24, 32, 2)] * 4
    assert {f.dtype for f in found} == {np.dtype(np.uint8)}
    for image, flow in zip(found, flows, strict=True):
        assert np.abs(image.astype(int) - flow).max() <= 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("flow_y_00002.jpg", None, "flow_y_00002.jpg is missing, of images 0 to 3"),
        ("flow_x_00000.jpg", None, "flow_x_00000.jpg is missing"),
        ("flow_x_00009.jpg", "copy", "flow_x_00004.jpg is missing, of images 0 to 9"),
        ("flow_y_00001.jpg", b"no image", "flow_y_00001.jpg: no JPEG image, or a damaged one"),
        ("flow_y_00001.jpg", "half", "flow_y_00001.jpg: no JPEG image, or a damaged one"),
        ("flow_y_00001.jpg", "colour", "flow_y_00001.jpg: an image in colour"),
        ("flow_x_00003.jpg", "small", "flow_x_00003.jpg: 16 x 12 pixels, where the first image has 32 x 24"),
    ],
)
def test_folders_that_are_damaged(tmp_path, name, content, message):
    from PIL import Image

    folder = write(tmp_path / "video", images(4))
    path, first = folder / name, Image.open(folder / "flow_x_00000.jpg")
    first.load()
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        {"copy": first, "colour": first.convert("RGB"), "small": first.resize((16, 12))}[content].save(path, "JPEG")
    with pytest.raises(InputError) as error:
        list(stored(folder))
    assert message in str(error.value)


def test_no_folder_of_flow(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        stored(tmp_path / "nothing")
    (tmp_path / "img_00000.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"no flow_x_00000\.jpg in it"):
        stored(tmp_path)
