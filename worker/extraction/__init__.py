"""The extractor: reads documents, in processes apart from the workers and without the API key.

`celery -A worker.extraction.extractor worker` starts it. `document` is one document's life,
`contents` what is read of a file, `lease` holds a document meanwhile.
"""
