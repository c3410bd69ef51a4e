"""Files of tensors and the names in them."""
