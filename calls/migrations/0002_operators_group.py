"""The group "Operators": what somebody who looks after a business may do in admin.

To let in a new operator: make a user with staff status, put it into this group, and add it to its business (on the
business's page). Here and not in the demonstration's seed, so that an install without demonstration has it too.
Permissions are made by Django after all migrations only, so the ones needed are made here, as Django would.
"""

from django.db import migrations

NAME = "Operators"
ALLOWED = {
    ("calls", "calllog", "call"): ["view"],
    ("businesses", "business", "business"): ["view", "change"],
    ("businesses", "agent", "agent"): ["view", "add", "change", "delete"],
    ("businesses", "agentversion", "agent version"): ["view", "add", "change", "delete"],
    ("businesses", "phonenumber", "phone number"): ["view", "add", "change", "delete"],
}


def add_group(apps, schema_editor):
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=NAME)
    for (app_label, model, readable), actions in ALLOWED.items():
        content_type, _ = ContentType.objects.get_or_create(app_label=app_label, model=model)
        for action in actions:
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {readable}"},
            )
            group.permissions.add(permission)


def remove_group(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("calls", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(add_group, remove_group)]
