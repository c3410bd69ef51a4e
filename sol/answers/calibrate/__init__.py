"""What do measured times tell about an engine?"""
