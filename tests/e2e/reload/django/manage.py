import sys

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(DEBUG=True, ROOT_URLCONF="views", SECRET_KEY="-", USE_TZ=True)
execute_from_command_line(sys.argv)
