"""What does an engine reach, by measured times?"""
