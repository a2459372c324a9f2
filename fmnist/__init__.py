"""The science: data, network, training, metrics. Knows nothing of Optuna or the command line."""
