"""The OpenAI API: requests for a row, and the meaning of each reply. Nothing here makes a call."""
