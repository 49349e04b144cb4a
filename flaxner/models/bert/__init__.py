"""BERT: settings, network, weight names."""
