"""The run itself: how far it is, and where it comes from."""
