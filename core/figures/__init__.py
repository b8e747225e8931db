"""Figures: data frames in, plotly figures (screen) and matplotlib figures (paper) out; no file or SQL access."""
