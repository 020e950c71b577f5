"""Apache Superset as the tests run it: alone on 127.0.0.1, with nothing worth protecting."""

SECRET_KEY = "of a server that lives for one test"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
