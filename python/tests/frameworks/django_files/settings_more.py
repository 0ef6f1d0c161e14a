
# Settings of the tutorial and its deployment pages.
INSTALLED_APPS.insert(0, "polls.apps.PollsConfig")
STATIC_ROOT = BASE_DIR / "static"
MEDIA_ROOT = BASE_DIR / "media"
ALLOWED_HOSTS = ["*"]
CONN_MAX_AGE = None
DATABASES["default"]["OPTIONS"] = {"timeout": 20}
