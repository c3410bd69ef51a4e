"""How long does one collective take?"""
