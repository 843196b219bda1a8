"""The numerical core: pure functions over arrays."""
