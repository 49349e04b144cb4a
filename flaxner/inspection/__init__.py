"""What training would meet in a corpus."""
