"""What goes over HTTP: request and response models, by resource. Requests forbid unknown fields."""
