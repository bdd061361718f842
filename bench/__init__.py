"""What a message costs: ratios against a raw limit, measured in the same run."""
