"""The services that programs reach: their URLs, and the account of a pod."""
