#!/bin/sh
# One image, one word for each role. `exec`: the role itself (or its supervisor) is process 1 and gets SIGTERM.
set -eu

role=${1:-web}
role_file=/tmp/voiceagent-role

case "$role" in
web)
    echo web >"$role_file"
    exec python manage.py serve --host 0.0.0.0 --port "${PORT:-8000}"
    ;;
worker)
    # A worker that dies is started again. At SIGTERM it finishes or gives back what it holds (25 s); it is killed after 40 s,
    # and compose.yml waits longer than that.
    echo worker >"$role_file"
    exec python -m voiceagent.supervise worker celery -A voiceagent worker -Q "${QUEUES:-high,default}" --concurrency "${WORKER_CONCURRENCY:-2}" --loglevel INFO
    ;;
offline)
    # What is made of calls when they are over: on its own, so that it never takes a place from the record of calls.
    echo offline >"$role_file"
    exec python -m voiceagent.supervise offline celery -A voiceagent worker -Q offline -n "offline@%h" --concurrency "${OFFLINE_CONCURRENCY:-1}" --loglevel INFO
    ;;
beat)
    echo beat >"$role_file"
    exec celery -A voiceagent beat --loglevel INFO --pidfile= --schedule /tmp/celerybeat-schedule
    ;;
migrate)
    exec python manage.py migrate --noinput
    ;;
health)
    case "$(cat "$role_file" 2>/dev/null)" in
    web)
        exec python -c "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=3)"
        ;;
    worker)
        exec celery -A voiceagent inspect ping --destination "celery@$(hostname)" --timeout 3
        ;;
    offline)
        exec celery -A voiceagent inspect ping --destination "offline@$(hostname)" --timeout 3
        ;;
    *)
        exit 0
        ;;
    esac
    ;;
manage)
    shift
    exec python manage.py "$@"
    ;;
*)
    echo "Unknown role '$role'. Known: web, worker, offline, beat, migrate, health, manage COMMAND." >&2
    exit 64
    ;;
esac
