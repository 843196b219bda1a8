"""Detection of a split with what was trained: one run, ensembles, what a report shows of a run."""
