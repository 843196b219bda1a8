"""Which folders make up the one package: configs, studies and commands lie at the top here, and under it once built."""

from setuptools import find_packages, setup

TOP = ("configs", "studies", "launch")

setup(
    packages=[*find_packages(include=["tal_jax", "tal_jax.*"]), *(f"tal_jax.{name}" for name in TOP)],
    package_dir={f"tal_jax.{name}": name for name in TOP},
)
