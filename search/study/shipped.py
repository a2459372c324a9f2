"""The studies that come with the package; loads nothing, for the sake of completion."""

from importlib.resources import files


def shipped_studies() -> list[str]:
    """Their names."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files("studies").iterdir() if entry.name.endswith(".toml")
    )
