"""The one way an answer shows itself: text, HTML, JSON, sources."""
