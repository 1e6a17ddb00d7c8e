from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("calls", "0011_recordings")]

    operations = [
        migrations.AddField(
            model_name="callmessage",
            name="text_state",
            field=models.CharField(
                blank=True,
                choices=[("waiting", "Not written down yet"), ("failed", "Could not be written down")],
                db_default="",
                default="",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="callmessage",
            name="key",
            field=models.CharField(
                editable=False,
                help_text="The tool_call_id of the tool that took it, or the RecordingSid.",
                max_length=200,
            ),
        ),
        migrations.AlterField(
            model_name="calllog",
            name="recording_consent",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="A RecordingConsent.",
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="callmessage",
            index=models.Index(
                condition=models.Q(("text_state", "waiting")), fields=["id"], name="message_to_write"
            ),
        ),
    ]
