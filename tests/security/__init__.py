"""Attacks, as hostile model output and hostile commands would carry them out."""
