"""How a model is split over devices, what they send, and what sending costs."""
