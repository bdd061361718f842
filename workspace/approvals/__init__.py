"""What needs the owner's yes: asking, deciding, standing grants, and going on afterwards."""
