"""The page: templates, style and script, served as they lie here."""
