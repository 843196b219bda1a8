"""One file per question: get_config() returns a tal_jax.train.study.Study for launch.study."""
