"""Commands, what they have in common: flags, errors in one line, how memory is handed out, and the entry `tal-jax`."""
