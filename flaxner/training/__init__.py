"""Settings -> a trained model."""
