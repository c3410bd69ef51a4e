"""How fast can one step be?"""
