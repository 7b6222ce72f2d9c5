"""What was predicted, as DICOM: structured reports, secondary captures, and sending them."""
