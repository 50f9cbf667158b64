"""Judges of edited faces that had no part in making them, and measures of reconstruction."""
