"""A picture that no run has seen: what may be asked of it, what fires on it, and which of a run's images are like it"""
