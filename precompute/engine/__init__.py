"""What runs stages: which of them are stale, in which process they work, how far they are, what the machine has."""
