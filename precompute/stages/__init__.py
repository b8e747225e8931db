"""One module per stage; each has ``run(ctx: StageContext) -> dict`` and knows no other stage."""
