"""Video files: images with times, in one pass and constant memory, and what an encoder wants done to them."""
