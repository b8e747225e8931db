"""Where stages run: ``local`` is this process, one stage after the other."""
