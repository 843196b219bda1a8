"""A task is a module, its loss and its decoding."""
