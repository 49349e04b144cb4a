"""A run -> a Hub folder, its card, ONNX, verification, upload."""
