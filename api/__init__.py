"""The HTTP border: what comes in is checked here, once, and what goes out is shaped here."""
