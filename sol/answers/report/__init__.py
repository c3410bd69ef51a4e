"""How every answer shows itself: text, HTML, JSON, sources."""
