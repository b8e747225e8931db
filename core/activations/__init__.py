"""Token activations of a run: their layout on disk, a writer that survives being killed, a reader bounded in memory."""
