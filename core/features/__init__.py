"""What each feature of an SAE does: when it fires, on which images and words, what it writes, what lies near it."""
