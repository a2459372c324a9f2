"""Networks: what a configuration builds, and what it costs."""
