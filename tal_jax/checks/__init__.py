"""What the data of a set contradict, and what of them does not count, before anything is learned from them."""
