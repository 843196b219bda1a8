"""Tasks: what each method is to the rest of the house, a module with its loss and its decoding."""
