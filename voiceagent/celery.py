"""The Celery application: `celery -A voiceagent worker -Q high,default`."""

import os

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging

from voiceagent import logs, valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")

app = Celery("voiceagent")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# A worker or beat typed alone, without REDIS_URL, brings its own broker.
celeryd_init.connect(valkey.keep_running)
beat_init.connect(valkey.keep_running)

setup_logging.connect(logs.configure_worker)
