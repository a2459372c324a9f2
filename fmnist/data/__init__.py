"""Sources of images, and the splits that each stage may see."""

from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.data.splits import SearchSplits, full_split, search_splits

__all__ = ["Images", "SearchSplits", "Source", "find_source", "fingerprint", "full_split", "search_splits"]
