"""What a trained model is good for: gates, calibration, model card."""
