"""The trainable Linen modules and the pure functions between them."""
