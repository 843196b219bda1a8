"""Temporal action localization in JAX/Flax."""
