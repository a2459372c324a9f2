"""What optuna-dashboard shows beside Optuna's own: notes, pictures and files of the studies, and the server itself."""
