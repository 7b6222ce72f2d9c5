"""What is deployed: a network with its preprocessing, thresholds and calibration."""
