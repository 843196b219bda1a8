"""From a config and a prepared set to a stage: its data, its task, and what it hands on."""
