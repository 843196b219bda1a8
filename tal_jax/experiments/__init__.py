"""Questions to a method: studies, ablations, tuning of decoding, pseudo labels, costs of a step."""
