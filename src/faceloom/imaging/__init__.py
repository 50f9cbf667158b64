"""Pictures in and out: open and save photos, pixels to tensors and back, contact sheets."""
