"""English beside Arabic, and gender layer by layer."""
