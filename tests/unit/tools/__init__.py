"""What tools are judged by, without stores, sandbox or files."""
