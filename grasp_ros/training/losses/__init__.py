"""What the phases of training minimise."""
