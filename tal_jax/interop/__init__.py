"""Models of other systems read and written, and this project's models for others."""

from tal_jax.interop.reader import Model, Recording, load
