"""Stages: from a config and a prepared set to what is trained, and to the artifacts that later stages take."""
