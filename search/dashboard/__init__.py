"""The content that is added to optuna-dashboard: notes, pictures and files of the studies, and the server itself."""
