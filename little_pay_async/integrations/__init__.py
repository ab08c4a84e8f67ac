"""A session and verified callbacks in web frameworks: `fastapi` and `aiohttp`, one module each.

Each needs the extra of its name, and none loads another. Private parts shared by them: `_opening`
makes the session when the app starts, `_receiving` decides what a callback is answered.
"""
