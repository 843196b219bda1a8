"""Recognition: clips of videos packed as images, their augmentation, and the task that trains encoders on them."""
