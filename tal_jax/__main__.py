"""`python -m tal_jax NAME --flags`: the same as `tal-jax NAME --flags`."""

from tal_jax.commands.cli import main

if __name__ == "__main__":
    main()
