"""How fast will one step be?"""
