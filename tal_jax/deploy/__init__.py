"""Trained models outside of their workdir: exported as a folder, read from it, detecting in files."""

from tal_jax.deploy.model import Model, Recording, load
