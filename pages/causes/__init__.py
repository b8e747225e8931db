"""What changes when features, heads or directions are changed."""
