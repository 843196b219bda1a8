"""Which version of the package runs, for files that say what made them."""


def version() -> str:
    """The installed version; "unknown" for a checkout that is not installed."""
    from importlib import metadata

    try:
        return metadata.version("tal_jax")
    except metadata.PackageNotFoundError:
        return "unknown"
