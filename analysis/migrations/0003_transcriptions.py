"""Messages that were spoken after the tone are written down; the group "Operators" may see how that stands, and have it
done again."""

import django.db.models.deletion
from django.db import migrations, models


def allow(apps, schema_editor):
    """As in calls 0002: Django itself makes permissions only after all migrations."""
    group = apps.get_model("auth", "Group").objects.filter(name="Operators").first()
    if group is None:
        return
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="analysis", model="transcription"
    )
    for action in ("view", "change"):
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type,
            codename=f"{action}_transcription",
            defaults={"name": f"Can {action} transcription"},
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0002_operators'),
        ('businesses', '0005_operators_may_look_after_dialing'),
        ('calls', '0012_voicemail'),
    ]

    operations = [
        migrations.CreateModel(
            name='Transcription',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('done', 'Done'), ('failed', 'Failed')], default='waiting', max_length=10)),
                ('model', models.CharField(blank=True, max_length=80)),
                ('usage', models.JSONField(blank=True, default=dict, help_text='Tokens and seconds, of all tries together.', verbose_name='usage')),
                ('cost', models.DecimalField(blank=True, decimal_places=6, help_text='USD, of all tries.', max_digits=12, null=True)),
                ('error', models.CharField(blank=True, help_text='Why the last try failed, a short code.', max_length=40)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('next_try_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('business', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='businesses.business')),
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='calls.callmessage')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('state', 'waiting')), fields=['next_try_at'], name='transcription_to_do'), models.Index(fields=['business', '-id'], name='transcription_by_business')],
            },
        ),
        migrations.RunPython(allow, migrations.RunPython.noop),
    ]
