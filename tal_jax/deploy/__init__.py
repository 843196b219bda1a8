"""Trained models outside of their workdir: export, reading a model folder, detection in files, HTTP."""

from tal_jax.deploy.model import Model, Recording, load
