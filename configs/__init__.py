"""One file per track and data set: get_config() returns an ml_collections ConfigDict."""
