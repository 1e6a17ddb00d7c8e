from django.db import migrations

ALLOWED = {
    ("callanalysis", "analysis"): ["view", "change"],
    ("aftercallsettings", "analysis of calls"): ["view", "add", "change"],
    ("leadfield", "lead field"): ["view", "add", "change", "delete"],
    ("lead", "lead"): ["view", "delete"],
}


def let_operators_read_analyses(apps, schema_editor):
    """As in calls 0002: Django itself makes permissions only after all migrations."""
    group = apps.get_model("auth", "Group").objects.filter(name="Operators").first()
    if group is None:
        return
    for (model, readable), actions in ALLOWED.items():
        content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
            app_label="analysis", model=model
        )
        for action in actions:
            permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
                content_type=content_type,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {readable}"},
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("analysis", "0001_initial"), ("calls", "0002_operators_group")]

    operations = [migrations.RunPython(let_operators_read_analyses, migrations.RunPython.noop)]
