"""Optuna's samplers and pruners, with the project's settings."""
