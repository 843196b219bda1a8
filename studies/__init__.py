"""One file per question: get_config() returns a tal_jax.experiments.study.Study for launch.study."""
