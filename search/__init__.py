"""The search: Optuna studies over fmnist, from the first trial to the exported model."""
