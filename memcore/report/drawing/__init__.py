"""Plots as inline SVG: no script, and colours that follow the page in light and dark."""
