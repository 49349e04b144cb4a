"""Finds entities in texts, and tags for words."""
