"""From bytes and FLOPs to seconds: bounds, and expected times at a calibration's rates."""
