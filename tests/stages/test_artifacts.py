"""What a stage hands on, in the form that the next one joins."""

import numpy as np

from tal_jax.evaluation.segment_table import segment_table, table_of
from tal_jax.stages.handover import as_input
from tal_jax.windows import WindowDetections


def test_classes_that_a_classifier_does_not_name():
    """NMS over windows drops scores of nearly nothing."""
    rows = segment_table([0, 0], [2, 0], [[0, 9], [0, 9]], [0.7, 0.2])
    np.testing.assert_allclose(as_input("class_scores", rows, 4), [0.2, 0, 0.7, 0], rtol=1e-6)
    segments, scores = as_input("proposals", rows, 4)
    assert segments.tolist() == [[0, 9], [0, 9]]
    assert scores.tolist() == [0.7, 0.2]


def test_tables_of_recordings():
    def found(n):
        return WindowDetections(
            np.full((n, 2), n), np.full(n, n, np.int32), np.full(n, n, np.float32), np.ones(n, bool)
        )

    table = table_of([(4, found(2)), (7, found(0)), (1, found(1))])
    assert table.recording.tolist() == [4, 4, 1]
    assert table.label.tolist() == [2, 2, 1]
    assert table.segments.tolist() == [[2, 2], [2, 2], [1, 1]]
    assert [x.dtype for x in vars(table).values()] == [np.int64, np.int64, np.float64, np.float64]
    nothing = table_of([])
    assert len(nothing) == 0
    assert nothing.segments.shape == (0, 2)
