"""What a model wrote, made fit to be shown to a person who decides by it."""

MAX_SHOWN = 200


def shown(value: object) -> str:
    """Return a model's text on one line, cut in its middle, hidden characters made visible; else its type."""
    text = value if isinstance(value, str) else type(value).__name__
    half = MAX_SHOWN // 2
    cut = text if len(text) <= MAX_SHOWN else f"{text[:half]} ... {text[-half:]}"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)
