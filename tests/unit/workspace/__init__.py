"""The core without stores."""
