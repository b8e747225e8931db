"""Images with their captions: sources of them, checks of what is fit for use, pairing and splits."""
