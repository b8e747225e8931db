"""What happens to captions when features, directions or the prompt are changed, against matched controls."""
