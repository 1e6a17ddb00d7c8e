"""The group "Operators" (calls, migration 0002) may place calls, and see what became of them."""

from django.db import migrations


def allow(apps, schema_editor):
    group = apps.get_model("auth", "Group").objects.filter(name="Operators").first()
    if group is None:
        return
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="outbound", model="outboundcall"
    )
    for action in ("view", "add"):
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type,
            codename=f"{action}_outboundcall",
            defaults={"name": f"Can {action} outbound call"},
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("outbound", "0001_initial"),
        ("calls", "0002_operators_group"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(allow, migrations.RunPython.noop)]
