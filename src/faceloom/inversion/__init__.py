"""From a face to its style code: one module per method, one protocol for all."""
