"""A final model as files for other programs, each measured against PyTorch, with its card."""
