"""Linen modules with explicit fields."""
