"""Directions: meaningful moves in a generator's style space."""
