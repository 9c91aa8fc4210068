"""Celery Beat with django-celery-beat, as `make bench` measures it: an app whose
schedules are in PostgreSQL and whose tasks go to Redis, where nobody works them."""

import os
import random
import sys
import time

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["BENCH_HOST"],
            "PORT": os.environ["BENCH_PORT"],
            "USER": os.environ["BENCH_USER"],
            "PASSWORD": os.environ["BENCH_PASSWORD"],
            "NAME": os.environ["BENCH_NAME"],
            "CONN_MAX_AGE": None,  # twice as fast as its default
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    SECRET_KEY="unused",
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup()

from celery import Celery  # noqa: E402

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(enable_utc=True, timezone="UTC")


def load(n, every):
    """Makes n schedules: every minute, on the minute, or every second."""
    from django.core.management import call_command
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

    call_command("migrate", verbosity=0)
    if every == "minute":
        when = {"crontab": CrontabSchedule.objects.create(timezone="UTC")}
    else:
        when = {"interval": IntervalSchedule.objects.create(every=1, period="seconds")}
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"schedule {i}", task="noop", args=f"[{i}]", **when) for i in range(n)
    )


def change(n):
    """Makes n schedules that are due at once, one after another, and prints after how
    many milliseconds each one's task was in the queue."""
    import redis
    from django_celery_beat.models import IntervalSchedule, PeriodicTask
    from django.utils import timezone

    queue = redis.Redis.from_url(os.environ["BENCH_BROKER"])
    daily = IntervalSchedule.objects.create(every=1, period="days")
    for i in range(n):
        time.sleep(random.uniform(0, 5))  # in step with no clock of Beat's
        PeriodicTask.objects.create(
            name=f"changed {i}", task="noop", interval=daily, last_run_at=timezone.now() - timezone.timedelta(days=2)
        )
        written = time.monotonic()
        while queue.llen("celery") <= i:
            if time.monotonic() - written > 60:
                sys.exit(f"{i} of {n} were enqueued")
            time.sleep(0.001)
        print((time.monotonic() - written) * 1000, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "change":
        change(int(sys.argv[2]))
    else:
        load(int(sys.argv[1]), sys.argv[2])
