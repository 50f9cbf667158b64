"""Faces in photos: find them, cut them out aligned, mask them, and put edited ones back."""
