"""docs/quickstart.py does what it says, and learns something."""

import runpy
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "docs" / "quickstart.py"


def test_ten_lines_lead_from_files_to_a_table_and_five_to_a_model(tmp_path, capsys):
    script = runpy.run_path(str(SCRIPT))
    script["write_recordings"](tmp_path)
    average = script["from_files_to_a_table"](tmp_path)
    out = capsys.readouterr().out
    assert average > 0.3, out  # 0.03 before any training
    assert "training             16" in out
    assert out.splitlines()[-1].startswith("mAP")
    assert f"{100 * average:.1f}" in out.splitlines()[-1]
    segments = np.asarray(script["a_model_alone"]())
    assert segments.shape == (1, 2, 2)
    assert np.isfinite(segments).all()
