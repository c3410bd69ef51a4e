"""A measured time: how far from the floor, and why?"""
