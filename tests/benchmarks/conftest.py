"""What tests of the PyTorch side share."""

import pytest


@pytest.fixture
def seeded_torch():
    """One thread: small networks wait for each other's threads where cores are few."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
