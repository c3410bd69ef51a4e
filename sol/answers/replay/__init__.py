"""How would this trace of requests be served?"""
