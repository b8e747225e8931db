"""Sparse autoencoders: their modules, training, files in the sae-lens format, and how well they fit."""
