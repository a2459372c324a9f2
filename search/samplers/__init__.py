"""What proposes a configuration and what ends a trial early: Optuna's samplers and pruners, with the project's
settings.
"""
