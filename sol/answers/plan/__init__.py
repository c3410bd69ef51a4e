"""Which split of many devices is best?"""
