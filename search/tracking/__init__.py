"""Trials, scores and files of a study in TensorBoard and MLflow, sent from what the study has stored."""
