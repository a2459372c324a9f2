"""`python -m search`: the command fmnist-search, for a source tree that is not installed."""

from search.cli.main import main

if __name__ == "__main__":  # a spawned worker process imports this module too
    main()
