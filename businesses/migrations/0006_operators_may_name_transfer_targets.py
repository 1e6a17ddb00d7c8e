"""The group "Operators" (calls, migration 0002) may say whom agents put callers through to."""

from django.db import migrations

NAME = "Operators"
ALLOWED = {("transfertarget", "transfer target"): ["view", "add", "change", "delete"]}


def allow(apps, schema_editor):
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    group = apps.get_model("auth", "Group").objects.filter(name=NAME).first()
    if group is None:
        return
    for (model, readable), actions in ALLOWED.items():
        content_type, _ = ContentType.objects.get_or_create(app_label="businesses", model=model)
        for action in actions:
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {readable}"},
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("businesses", "0005_operators_may_look_after_dialing"),
        ("calls", "0002_operators_group"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(allow, migrations.RunPython.noop)]
