"""Evaluation of a trained model: acceptance, calibration, report page."""
