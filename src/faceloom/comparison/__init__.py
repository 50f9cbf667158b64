"""Inversion methods compared: the same photos, the same generator, the same measures."""
