"""Images worked out by hand, and PyTorch's interpolation: resizing, cropping, order and range."""

import numpy as np
import pytest
from support import videos

from tal_jax.video.decode import Video
from tal_jax.video.preprocessing import PLACES, Preprocessing, crop, resize

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def grey(values):
    return np.repeat(np.array(values, np.uint8)[..., None], 3, axis=-1)


def test_halving_by_hand():
    """Between the two middle pixels of four; with averaging over all four, (1 3 3 1) / 8 of them."""
    image = grey([[0, 40, 80, 240]])
    assert resize(image, (1, 2), "bilinear")[0, :, 0].tolist() == [20, 160]
    # Pillow's triangle is two pixels wide at half the size: output 0 sees pixels 0, 1, 2 with weights 3, 3, 1.
    assert resize(image, (1, 2), "bilinear-antialiased")[0, :, 0].tolist() == [29, 143]


def test_doubling_by_hand():
    """Points at -0.25, 0.25, 0.75, 1.25; beyond an end its pixel repeats."""
    found = resize(grey([[0, 100]]), (1, 4), "bilinear")[0, :, 0]
    assert found.tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("shape", [(56, 77), (97, 40), (224, 300), (13, 3)])
@pytest.mark.parametrize(
    ("filter", "mode", "within"),
    [
        ("bilinear", {"mode": "bilinear", "antialias": False}, 0.52),
        ("bilinear-antialiased", {"mode": "bilinear", "antialias": True}, 1.1),  # Pillow rounds after each direction
    ],
)
def test_as_pytorch_interpolates(shape, filter, mode, within):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).integers(0, 256, (97, 133, 3)).astype(np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, shape, align_corners=False, **mode)[0].permute(1, 2, 0).numpy()
    assert np.abs(resize(image, shape, filter) - expected).max() < within


def test_bicubic_keeps_what_is_smooth():
    """A ramp stays a ramp, away from its ends."""
    ramp = grey(np.tile(np.arange(0, 240, 2), (8, 1)))
    found = resize(ramp, (8, 60), "bicubic-antialiased")[4, :, 0].astype(int)
    np.testing.assert_allclose(found[2:-2], (4 * np.arange(60) + 1)[2:-2], atol=1)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"), [(720, 1280, (256, 455)), (1280, 720, (455, 256)), (480, 640, (256, 341))]
)
def test_the_short_side_in_proportion(rows, columns, expected):
    family = Preprocessing(side=224, short_side=256, **PLAIN)
    assert family.resized_shape(rows, columns) == expected
    image = np.zeros((rows, columns, 3), np.uint8)
    assert family.on_host(image).shape == (1, 224, 224, 3)


def test_crops_by_hand():
    image = grey(np.arange(35).reshape(5, 7))
    corner = lambda place: crop(image, 3, place)[0, 0, 0]  # noqa: E731
    assert [corner(place) for place in PLACES["ten"][:5]] == [0, 4, 14, 18, 9]  # the centre at row 1, column 2
    mirrored = crop(image, 3, (0, 0, True))
    assert mirrored[0, :, 0].tolist() == [2, 1, 0]
    ten = Preprocessing(side=3, short_side=None, size=(5, 7), crop="ten", **PLAIN)
    found = ten.on_host(image)
    assert found.shape == (10, 3, 3, 3)
    np.testing.assert_array_equal(found[5:], found[:5, :, ::-1])


def test_order_scale_mean_and_std_by_hand():
    family = Preprocessing(side=1, short_side=None, scale=1.0, order="BGR", mean=(104.0, 117.0, 128.0), std=(1, 2, 4))
    image = np.array([[[10, 20, 30]]], np.uint8)  # red, green, blue
    np.testing.assert_allclose(family.on_device(image), [[[30 - 104, (20 - 117) / 2, (10 - 128) / 4]]])
    family = Preprocessing(side=1, short_side=None, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    np.testing.assert_allclose(family.on_device(np.uint8([[[255, 0, 51]]])), [[[1.0, -1.0, 0.2]]], rtol=1e-6)


def test_fields_of_flow_have_two_channels():
    family = Preprocessing(side=1, short_side=None, mean=(0.5, 0.25), std=(0.5, 0.25))
    np.testing.assert_allclose(family.on_device(np.uint8([[[255, 0]]])), [[[1.0, -1.0]]], rtol=1e-6)
    with pytest.raises(ValueError, match="x and y of flow"):
        Preprocessing(side=1, short_side=None, mean=(0.5,) * 10, std=(0.5,) * 10)
    with pytest.raises(ValueError, match="x and y of flow"):
        Preprocessing(side=1, short_side=None, mean=(0.5,) * 2, std=(0.5,) * 3)


@pytest.mark.parametrize("wrong", [{"short_side": 200}, {"short_side": 256, "size": (256, 256)}, {"size": (300, 100)}])
def test_what_contradicts_itself(wrong):
    with pytest.raises(ValueError, match=r"short_side or|does not fit"):
        Preprocessing(**{"side": 224, "short_side": None, **PLAIN, **wrong})


@pytest.mark.parametrize("degrees", [0, 90])
def test_as_ffmpeg_scales(tmp_path, degrees):
    """By libswscale out of the file's own colours, not by way of RGB in full size; turned afterwards, and cropped."""
    av = pytest.importorskip("av")
    path = videos.write(tmp_path / "a.mp4", videos.regular(3), codec="libx264")
    path = videos.with_rotation(path, degrees) if degrees else path
    family = Preprocessing(32, None, (0.0,) * 3, (1.0,) * 3, size=(40, 60), filter="bicubic-ffmpeg")
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    for frame, image in zip(frames, Video(str(path)).shown(), strict=True):
        columns, rows = (40, 60) if degrees else (60, 40)
        scaled = frame.reformat(columns, rows, "rgb24", interpolation="BICUBIC").to_ndarray()
        expected = np.rot90(scaled, degrees // 90)[4:36, 14:46]
        np.testing.assert_array_equal(family.of_video(image), [expected])
    by_way_of_rgb = resize(frames[0].to_ndarray(format="rgb24"), (40, 60), "bicubic-antialiased")
    assert np.abs(by_way_of_rgb.astype(int) - frames[0].reformat(60, 40, "rgb24").to_ndarray()).max() > 2
    with pytest.raises(ValueError, match="FFmpeg resizes images of videos"):
        resize(np.zeros((4, 4, 3), np.uint8), (2, 2), "bicubic-ffmpeg")
