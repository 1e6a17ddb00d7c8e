"""Recordings are fetched, drawn and shown; the group "Operators" (migration 0002) may see them and have them fetched
again."""

from django.db import migrations, models

NAME = "Operators"


def allow(apps, schema_editor):
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    group = apps.get_model("auth", "Group").objects.filter(name=NAME).first()
    if group is None:
        return
    content_type, _ = ContentType.objects.get_or_create(app_label="calls", model="recording")
    for action in ("view", "change"):
        permission, _ = Permission.objects.get_or_create(
            content_type=content_type,
            codename=f"{action}_recording",
            defaults={"name": f"Can {action} recording"},
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("calls", "0010_taken_away"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AddField(
            model_name="recording",
            name="peaks",
            field=models.JSONField(
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                help_text="To draw it: calls.waveform.Waveform.peaks.",
            ),
        ),
        migrations.AlterField(
            model_name="calllog",
            name="recording_consent",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="announced, granted, refused, unanswered or voicemail.",
                max_length=10,
            ),
        ),
        migrations.RunPython(allow, migrations.RunPython.noop),
    ]
