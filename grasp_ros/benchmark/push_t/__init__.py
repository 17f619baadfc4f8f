"""The paper's table on Push-T."""
