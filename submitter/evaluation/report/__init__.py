"""An evaluation as one HTML page, which needs no network: see `page`."""
