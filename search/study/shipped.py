"""The studies that ship with the package. Imports nothing heavy, to keep shell completion fast."""

from importlib.resources import files


def shipped_studies() -> list[str]:
    """Return the names of the shipped studies."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files("studies").iterdir() if entry.name.endswith(".toml")
    )
