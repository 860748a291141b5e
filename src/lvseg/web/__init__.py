"""Web server of the reader's desk: an index of studies, a queue of jobs, versions, events.

``lvseg serve`` puts it together. It needs the optional part ``web`` (Starlette, uvicorn,
SQLAlchemy); nothing else imports it.
"""
