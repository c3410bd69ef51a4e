"""A checkpoint's files read as a model whose bytes are the files'."""
