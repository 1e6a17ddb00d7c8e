"""What one writes first to store turns: a Celery task with the ORM's get_or_create, and all settings as they come.

`celery -A bench.peers.plain_celery worker`, with the product's DATABASE_URL and REDIS_URL, which is a socket's;
`python -m bench.peers.plain_celery` makes its table.
"""

import os

import django
import environ
from celery import Celery
from django.conf import settings
from django.db import connection, models

os.environ["DJANGO_SETTINGS_MODULE"] = __name__  # Celery only asks whether there is one
if not settings.configured:
    settings.configure(DATABASES={"default": environ.Env().db()}, USE_TZ=True)
    django.setup()

socket = os.environ["REDIS_URL"].removeprefix("unix://").replace("?db=", "?virtual_host=")
app = Celery("plain", broker=f"redis+socket://{socket}")


class Turn(models.Model):
    call_sid = models.CharField(max_length=64)
    turn_index = models.PositiveIntegerField()
    user_text = models.TextField()
    bot_reply = models.TextField()
    heard_text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "plain"
        constraints = [models.UniqueConstraint(fields=["call_sid", "turn_index"], name="plain_turn_once")]


@app.task(name="plain.save_turn")
def save_turn(call_sid, turn_index, user_text, bot_reply, heard_text):
    said = {"user_text": user_text, "bot_reply": bot_reply, "heard_text": heard_text}
    Turn.objects.get_or_create(call_sid=call_sid, turn_index=turn_index, defaults=said)


if __name__ == "__main__":
    with connection.schema_editor() as editor:
        editor.create_model(Turn)
