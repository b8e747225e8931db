"""What the same questions give where nothing is to be found: random dictionaries, raw axes, shuffled labels"""
