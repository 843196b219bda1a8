"""Released layouts of weights: how published files name the tensors of a network, one file per family of networks."""
