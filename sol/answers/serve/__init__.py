"""What users of a server see: a request alone, a server in steady state, and limits it keeps."""
