"""Training: from settings to a trained model."""
