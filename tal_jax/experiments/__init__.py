"""Experiments with a method: studies, ablations, tuning of its decoding, pseudo labels, costs of a step."""
