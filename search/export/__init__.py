"""Export of a final model to files for other programs, each compared with PyTorch, with a model card."""
