"""What several test files share: oracles, small data sets, runs of commands."""
