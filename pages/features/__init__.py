"""Features: all of a layer, one, and those of gender."""
