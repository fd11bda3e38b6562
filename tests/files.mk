TEST_LIB_SRCS += tests/lib/area.c tests/lib/child.c tests/lib/mount.c tests/lib/oracle.c
STRESS += tests/stress/offload.c
