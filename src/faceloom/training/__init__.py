"""Training of generators and encoders. Only the command line imports it."""
