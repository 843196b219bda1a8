"""The tiny set of sensor recordings that most trainings of the tests learn from; nobody writes to it."""

import pytest
from sensor_set import prepare_set


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    prepare_set(folder)
    return folder / "data"
