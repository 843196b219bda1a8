"""A method of someone else's: a one-stage detector of one level, in three small files and a config."""
