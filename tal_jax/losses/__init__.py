"""Losses: unreduced inside, one masked reduction."""
