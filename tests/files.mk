TEST_LIB_SRCS += tests/lib/area.c tests/lib/child.c tests/lib/mount.c tests/lib/oracle.c
STRESS += tests/stress/offload.c
TEST_LIB_SRCS += tests/lib/watch_record.c
UNIT_TESTS += tests/unit/test_watch.c tests/unit/test_watch_inotify.c tests/unit/test_watch_inotify_tree.c
STRESS += tests/stress/watch.c
