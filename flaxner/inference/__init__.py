"""Texts or words -> entities."""
