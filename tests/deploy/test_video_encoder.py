"""An exported encoder by itself: its features of a video are those of launch.encode, whatever its times and filter."""

import dataclasses

import numpy as np
import pytest
from support import videos
from support.small_encoder import SMALL

from tal_jax.deploy import encoder_export
from tal_jax.deploy.video_encoder import VideoEncoder
from tal_jax.encoders import catalogue
from tal_jax.encoding import encode, plan

pytest.importorskip("av")


@pytest.mark.parametrize("times", ["stamps", "index"])
@pytest.mark.parametrize("filter", ["bilinear", "bicubic-ffmpeg"])
def test_its_features_are_those_of_encode(tmp_path, monkeypatch, times, filter):
    preprocessing = dataclasses.replace(SMALL.preprocessing, filter=filter)
    monkeypatch.setattr(catalogue, "ENCODERS", (dataclasses.replace(SMALL, preprocessing=preprocessing),))
    catalogue._by_name.cache_clear()
    (tmp_path / "videos").mkdir()
    shown = [k / 30 + (0.4 if k > 20 else 0.0) for k in range(60)]  # its rate varies
    video = videos.write(tmp_path / "videos" / "a.mp4", shown, codec="libx264")
    options = plan.Options(
        str(tmp_path / "videos"), str(tmp_path / "out"), encoder="small", weights="random", rate=10.0, times=times
    )
    encode.encode(options)
    encoder_export.write(tmp_path / "encoder", plan.plan(options))
    catalogue._by_name.cache_clear()
    found = VideoEncoder(tmp_path / "encoder").encode(str(video))
    np.testing.assert_allclose(found.features, np.load(tmp_path / "out" / "a.npy"), rtol=1e-5, atol=1e-6)
