"""DICOM files: headers and pixels of strangers, judged before and while pydicom reads them."""
