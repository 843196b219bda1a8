"""An exported model as an HTTP service: requests, limits, batches of what arrives together, measures."""
