"""What a report says: tables, proofs, warnings and pictures, as plain values for the template."""
