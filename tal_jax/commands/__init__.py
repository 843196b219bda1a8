"""Commands, what they have in common: flags, errors in one line, large pages of memory, and the entry `tal-jax`."""
