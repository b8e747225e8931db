"""How often each sentence of the app is wrong where nothing is, and said where it is true, over simulated worlds."""
