"""Networks from images to style codes, and the frozen features that losses look through."""
