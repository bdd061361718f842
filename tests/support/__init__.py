"""What tests share: clients of the API, of its streams and of the stand-in model, and ways to wait."""
