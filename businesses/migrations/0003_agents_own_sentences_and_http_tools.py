import businesses.models
import businesses.validation
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

FORMER_SWITCHES = ('create_response', 'interrupt_response')


def drop_former_switches(apps, schema_editor):
    """Of drafts only: what is published never changes, and AgentVersion.snapshot leaves them out."""
    for draft in apps.get_model('businesses', 'AgentVersion').objects.filter(published_at__isnull=True):
        if isinstance(draft.turn_detection, dict):
            draft.turn_detection = {k: v for k, v in draft.turn_detection.items() if k not in FORMER_SWITCHES}
            draft.save(update_fields=['turn_detection'])


def let_operators_look_after_http_tools(apps, schema_editor):
    """As calls, migration 0002, does for the rest; where the group is gone, it is somebody's wish."""
    group = apps.get_model('auth', 'Group').objects.filter(name='Operators').first()
    if group is None:
        return
    content_type, _ = apps.get_model('contenttypes', 'ContentType').objects.get_or_create(
        app_label='businesses', model='httptool'
    )
    for action in ('view', 'add', 'change', 'delete'):
        permission, _ = apps.get_model('auth', 'Permission').objects.get_or_create(
            content_type=content_type, codename=f'{action}_httptool', defaults={'name': f'Can {action} HTTP tool'}
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('businesses', '0002_max_calls_and_when_busy'),
        ('calls', '0002_operators_group'),
    ]

    operations = [
        migrations.AddField(
            model_name='agentversion',
            name='caller_speaks_first',
            field=models.BooleanField(db_default=False, default=False, help_text="Wait for the caller's first words; greet only when none come.", verbose_name='caller speaks first'),
        ),
        migrations.AddField(
            model_name='agentversion',
            name='frozen_http_tools',
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='agentversion',
            name='protected_greeting_seconds',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='In seconds, 0 to 30, from the beginning of the greeting: what a caller who speaks up does not stop, like a legal notice. 0: a caller may stop it at once.', validators=[django.core.validators.MaxValueValidator(30)], verbose_name='protected greeting'),
        ),
        migrations.AddField(
            model_name='agentversion',
            name='silence_seconds',
            field=models.PositiveSmallIntegerField(db_default=8, default=8, help_text='In seconds, 3 to 60: how long nobody speaks until the agent asks whether the caller is still there.', validators=[django.core.validators.MinValueValidator(3), django.core.validators.MaxValueValidator(60)], verbose_name='silence'),
        ),
        migrations.AlterField(
            model_name='agentversion',
            name='tools',
            field=models.JSONField(blank=True, default=businesses.models.default_tools, help_text='What the agent may do in a call, besides talking. HTTP tools are taken over as they are when the version is published: publish again to use a changed tool.', validators=[businesses.validation.validate_tools]),
        ),
        migrations.AlterField(
            model_name='agentversion',
            name='turn_detection',
            field=models.JSONField(default=businesses.models.default_turn_detection, help_text='How the model notices that the caller speaks: type server_vad (silence) or semantic_vad (meaning). When the agent answers, and which interruption is one, is decided by the call itself.', validators=[businesses.validation.validate_turn_detection]),
        ),
        migrations.CreateModel(
            name='Clip',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=24)),
                ('text', models.TextField()),
                ('audio', models.BinaryField(default=b'')),
                ('rendered_at', models.DateTimeField(null=True)),
                ('is_due', models.BooleanField(default=True)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('tried_at', models.DateTimeField(null=True)),
                ('error', models.CharField(blank=True, max_length=64)),
                ('agent_version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='clips', to='businesses.agentversion')),
            ],
            options={
                'ordering': ['agent_version', 'key'],
                'constraints': [models.UniqueConstraint(fields=('agent_version', 'key'), name='clip_key_once_per_version')],
            },
        ),
        migrations.CreateModel(
            name='HttpTool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='By which the model calls it: small letters, digits and _, like find_order.', max_length=41, validators=[django.core.validators.RegexValidator('^[a-z][a-z0-9_]{0,40}\\Z', 'Write a name of small letters, digits and _, like find_order; 41 at most.'), businesses.validation.refuse_built_in_name])),
                ('description', models.TextField(help_text='Tells the model what it does and when to use it, like: Look up the state of an order by its number.', max_length=1024)),
                ('parameters', models.JSONField(default=businesses.models.no_parameters, help_text='What the model has to give: a JSON schema of an object with plain values, like {"type": "object", "properties": {"number": {"type": "string", "description": "Of the order"}}, "required": ["number"]}.', validators=[businesses.validation.validate_parameters])),
                ('url', models.CharField(help_text='https only. {name} stands for a parameter, like https://api.example.com/orders/{number}.', max_length=500, validators=[businesses.validation.validate_tool_url], verbose_name='address')),
                ('method', models.CharField(choices=[('GET', 'GET: arguments in the address'), ('POST', 'POST: arguments as a JSON body')], default='POST', max_length=4)),
                ('encrypted_secret', models.TextField(blank=True, editable=False)),
                ('timeout_seconds', models.PositiveSmallIntegerField(default=10, help_text='In seconds, 1 to 30. The caller waits meanwhile.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(30)], verbose_name='timeout')),
                ('is_active', models.BooleanField(default=True, help_text='Switched off, no agent can be published with it. Versions that are published keep their copy of it.', verbose_name='active')),
                ('business', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='http_tools', to='businesses.business')),
            ],
            options={
                'verbose_name': 'HTTP tool',
                'ordering': ['business', 'name'],
                'constraints': [models.UniqueConstraint(fields=('business', 'name'), name='http_tool_name_once_per_business')],
            },
        ),
        migrations.RunPython(drop_former_switches, migrations.RunPython.noop),
        migrations.RunPython(let_operators_look_after_http_tools, migrations.RunPython.noop),
    ]
