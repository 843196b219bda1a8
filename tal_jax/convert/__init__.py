"""Checkpoints of PyTorch systems, read into a workdir and written back."""
