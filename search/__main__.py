"""`python -m search`: the command fmnist-search, for a source tree that is not installed."""

from search.cli import main

if __name__ == "__main__":  # worker processes import this module anew, and are no commands
    main()
