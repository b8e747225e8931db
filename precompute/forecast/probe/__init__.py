"""A short measurement of what a unit of work costs on this device, with the run's own model and settings."""
