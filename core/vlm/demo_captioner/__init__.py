"""The demo captioner: a small Gemma 3 trained from scratch on the demo world (build, train, gate)."""
