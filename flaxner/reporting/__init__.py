"""A run's results as an HTML page."""
