"""The offline part: stages that fill a run folder, and the command line that runs them."""
