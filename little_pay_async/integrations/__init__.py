"""A session in web frameworks and workers, and verified callbacks: one module for each framework.

`fastapi`, `aiohttp` and `taskiq`; each needs the extra of its name, and none loads another. Private
parts: `_opening` makes the session when the app starts, `_receiving` decides what a callback is
answered, `_stints` watches for a while and leaves the rest, `_taskiq_worker` does so in a task.
"""
