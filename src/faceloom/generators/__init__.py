"""Style-based image generators in plain PyTorch."""
