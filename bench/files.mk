# The programs, and what they share.
BENCH := \
	bench/latency.c \
	bench/micro.c \
	bench/quick.c

BENCH_SRCS := \
	bench/options.c \
	bench/place.c \
	bench/report.c \
	bench/round.c \
	bench/scene.c \
	bench/side.c \
	bench/stats.c \
	bench/tool.c \
	bench/tree.c \
	bench/walk.c \
	bench/workloads.c
