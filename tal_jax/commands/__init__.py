"""What commands share: their flags, errors as one line, large pages for their memory, and the entry `tal-jax`."""
