"""Trained models outside of their workdir: exported as a folder, read from it, detecting in files and over HTTP."""

from tal_jax.deploy.model import Model, Recording, load
