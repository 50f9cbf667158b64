"""Faces drawn: illustrators, and twins of the generator that draw as they do."""
