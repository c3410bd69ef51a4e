"""What people ask, one question a file. Names are resolved here and nowhere below."""
