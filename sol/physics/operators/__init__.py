"""What one forward pass moves and computes, operator by operator."""
