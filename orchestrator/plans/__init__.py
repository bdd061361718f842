"""Plans as values: reading, checking, drawing, estimating and compiling them. Nothing here waits, stores or sends."""
